"""What runs when: definitions, expressions, workflows, schedules, queues, circuits. Pure."""
