import types

from lean3d.train.estimate import Estimate


def steps(estimate, count, monkeypatch, seconds, total):
    clock = iter(i * seconds for i in range(1000))
    monkeypatch.setattr("time.perf_counter", lambda: next(clock))
    for step in range(count):
        loop = types.SimpleNamespace(batch_idx=step)
        trainer = types.SimpleNamespace(fit_loop=loop, num_training_batches=total, max_epochs=10)
        estimate.on_train_batch_end(trainer, None, None, None, step)


def test_the_seconds_of_an_epoch_are_said_once(monkeypatch, capsys):
    steps(Estimate(), 90, monkeypatch, 0.5, 100)
    said = capsys.readouterr().err
    assert said == "100 steps of 0.5 s: about 50 s an epoch, 8 min in all, and validation\n"


def test_slow_steps_are_not_waited_for(monkeypatch, capsys):
    steps(Estimate(), 2, monkeypatch, 60, 100)
    assert "1.7 h an epoch" in capsys.readouterr().err


def test_a_short_epoch_says_itself_how_long_it_takes(monkeypatch, capsys):
    steps(Estimate(), 5, monkeypatch, 0.5, 5)
    assert not capsys.readouterr().err
