"""TERA2's converter, where s3prl has it; the model is one of the wav2vec 2.0 family."""
