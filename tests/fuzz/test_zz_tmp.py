import time
from tests.support.fuzzing import *
from tests.support.fakeserver import FakeServer
def test_x(make_pooler, pg):
    with FakeServer({"bent": BentServers(5000)}) as fake:
        p = make_pooler(workers=2, databases={**DATABASES, "bent": f"port={fake.port} password=secret pool_size=2"}, query_wait_timeout=3,client_login_timeout=3)
        for s in range(1,25):
            t=time.monotonic()
            with p.wire(timeout_s=0.2) as wire:
                wire.send(startup(database="bent"), query("SELECT 1"))
                got=[]
                try:
                    while True: 
                        got.append(wire.receive())
                except Exception as e: r=repr(e)[:100]
            print("SLOW", round(time.monotonic()-t,2), len(got), r, fake.connections, [g.type for g in got][-3:])
    assert 0
