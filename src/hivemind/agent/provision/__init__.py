"""What the node gives containers beyond their image: volumes, files, variables, devices."""
