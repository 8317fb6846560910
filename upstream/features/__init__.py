"""Acoustic features: log mels and Kaldi filterbanks of padded batches."""
