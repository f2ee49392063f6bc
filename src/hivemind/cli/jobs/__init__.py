"""Jobs and runs as pictures: trees, graphs, Gantt charts; and the painting of them while they change."""
