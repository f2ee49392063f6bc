"""What touches the machine: runtimes, networks, images, the name server. A folder for each contract."""
