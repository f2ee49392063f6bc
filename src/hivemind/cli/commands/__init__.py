"""What the commands do: one module a noun, imported when its command runs."""
