complete --keep-order --exclusive --command cadence --arguments "(COMPLETE=fish cadence -- (commandline --current-process --tokenize --cut-at-cursor) (commandline --current-token))"
