"""A worker of neat-python's distributed evaluator, whose primary is the manager at ADDRESS."""

import sys

from neat.distributed import MODE_SECONDARY, DistributedEvaluator


def fitness(genome, config):
    return genome * config


def main():
    host, port = sys.argv[1].rsplit(":", 1)
    worker = DistributedEvaluator(
        (host, int(port)), b"key", fitness, num_workers=1, mode=MODE_SECONDARY
    )
    worker.start(exit_on_stop=False)
    print("stopped")


if __name__ == "__main__":
    main()
