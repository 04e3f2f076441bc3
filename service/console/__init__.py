"""What a person's machine needs: command line, embedded stack, report, web view. No Lambda package has it."""
