"""The name service without sockets: what is asked, what is known, what is answered."""
