"""What makes several daemons one hive: how a node comes in and goes, whom it talks to, and whom it takes for gone."""
