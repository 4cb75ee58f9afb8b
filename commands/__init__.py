"""The command line, `tollgate`: a file a subcommand, which reads its options and hands over.

Libraries are imported only once the options are read, so that `--help` answers at once.
"""
