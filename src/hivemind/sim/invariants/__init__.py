"""What must hold: written down once more, apart from the machines, from what an outsider can see of them."""
