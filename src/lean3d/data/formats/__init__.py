"""Formats of scans, one file each."""
