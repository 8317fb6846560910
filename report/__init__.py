"""What results say together: one table of many runs, the SUPERB score, comparisons, and files for SUPERB's leaderboard."""
