"""counter.py [ADDRESS]: uses the object that the Rust example `counter` shares."""

import common

if __name__ == "__main__":
    counter = common.connect("counter").counter()
    counter.increment()
    counter.increment(by=41)
    print("the counter stands at", counter.value())
