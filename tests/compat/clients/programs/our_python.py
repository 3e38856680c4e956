import sys

from signal_broker_client import Client

url, token, name = sys.argv[1:]
with Client(url, token) as broker:
    print(broker.throw(name, {"order": 7})["id"])
