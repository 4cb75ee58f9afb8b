"""The command line, `tollgate`: a file a subcommand, which reads its options before it imports libraries."""
