"""A real Ray cluster of a head that does no work and two nodes of one processor each, for tests.

Prints its address, and then does what it is told by lines on standard input: ``kill`` kills the second node as a power
cut would; the end of the input ends the cluster.
"""

import sys

from ray.cluster_utils import Cluster

_NODE = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}


def main() -> None:
    cluster = Cluster(initialize_head=True, head_node_args=_NODE | {"num_cpus": 0})
    nodes = [cluster.add_node(**_NODE) for _ in range(2)]
    sys.stdout.write(f"{cluster.address}\n")
    sys.stdout.flush()
    for line in sys.stdin:
        if line.strip() == "kill":
            cluster.remove_node(nodes[1], allow_graceful=False)
            sys.stdout.write("killed\n")
            sys.stdout.flush()
    cluster.shutdown()


if __name__ == "__main__":
    main()
