"""Finished pictures and runs that were stopped: files, what they hold, what is said of them."""
