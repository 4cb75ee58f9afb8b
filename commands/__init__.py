"""The command line, `tollgate`: a file a subcommand, which reads its options and hands over."""
