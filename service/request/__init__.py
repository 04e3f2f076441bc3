"""What was asked for: a batch's input parsed, checked and resolved before anything is spent."""
