"""The engine of a hive that has an etcd already: that decides the order. Imported by nodes of such hives only."""
