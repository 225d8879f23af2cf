"""close.py [ADDRESS]: asks the manager to end."""

import common

if __name__ == "__main__":
    common.connect("close").close()
    print("the manager was asked to end")
