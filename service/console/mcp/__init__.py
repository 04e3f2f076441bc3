"""The batch processor as a server of the Model Context Protocol: tools, tasks and pages for agents."""
