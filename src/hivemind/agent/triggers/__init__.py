"""What a node notices for the jobs that wait for it: files that arrive."""
