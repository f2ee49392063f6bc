"""Where the other nodes of the hive are: by a distributed hash table, by addresses that people wrote down, by those
that were good before, and by asking around on the local network. What is found here is where somebody says that it is;
whether it belongs to the hive, its key shows when it is talked to."""
