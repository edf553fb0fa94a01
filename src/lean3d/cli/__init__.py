"""The command line: a table for people, one line of JSON last, errors in one sentence."""
