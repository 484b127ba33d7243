"""The command line: `jaxcv COMMAND ...`; one file per command."""
