import time

from tests.e2e.test_postfix_identity import *


async def test_t(heloise, postfix):
    acme = await heloise.tenant("acme")
    await acme.profile("alice", postfix.port("relaxed"))
    m = await acme.send()
    await acme.message(m, status="sent")
    for path in ("/healthz", f"/messages/{m}"):
        t0 = time.time()
        c0 = time.process_time()
        for _ in range(30):
            await acme.read(path)
        print(
            path[:9],
            (time.time() - t0) / 30 * 1000,
            "ms; cpu",
            (time.process_time() - c0) / 30 * 1000,
        )
    import cProfile

    p = cProfile.Profile()
    p.enable()
    for _ in range(30):
        await acme.read(f"/messages/{m}")
    p.disable()
    import pstats

    pstats.Stats(p).sort_stats("tottime").print_stats(14)
