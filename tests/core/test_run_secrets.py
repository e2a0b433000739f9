import shlex

import pytest
from run_nouns import sample, verdict

from strop.run import Run
from strop.run.secrets import HIDDEN, Secrets

SECRET = 'tr0ub4dor&3-äß"quoted'
SHORT = "hunter2"


def everything_on_disk(path):
    return b"".join(file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file())


@pytest.fixture
def environment(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    monkeypatch.setenv("db_password", SHORT)
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    monkeypatch.setenv("SSL_KEY_FILE", "/etc/passwd")


def test_no_secret_reaches_the_folder(tmp_path, environment):
    given = {
        "command": shlex.join(
            ["strop", "eval", "--api-key", SHORT, "--header", "Authorization: Bearer ab.cd-12", "--n", "4"]
        ),
        "config": {
            "endpoint": f"https://me:{SHORT}@host/v1?api_key=qwertz99",
            "api_key": "typed-by-hand-1234",
            "headers": [{"Authorization": "Basic dXNlcjpw"}],
            "note": f"key={SECRET}",
            SECRET: 1,
            "parallel": "false",
            "certificate": "/etc/passwd",
            "max_tokens": 512,
            "tokenizer": "plain",
        },
        "inputs": {"model": f"{SECRET}@url"},
    }
    with Run.open(tmp_path / "run", **given) as run:
        run.save_samples("s", [sample(text=f"print('{SECRET}')")])
        run.save_verdicts("s", [("t", 0, verdict(output=SECRET, detail=f"x{SECRET}x"))])
        run.save_result("k", {"answer": [SECRET], SECRET: 2})
        run.event("error", {"message": f"401 for {SECRET}; sent Bearer zz99zz99", "password": SHORT})
        run.write("report.html", f"<p>{SECRET}</p>")
        assert run.samples("s")[0].text == f"print('{HIDDEN}')"
        config = run.manifest["config"]
        assert config["parallel"] == "false"
        assert config["certificate"] == "/etc/passwd"
        assert config["max_tokens"] == 512
        assert config["tokenizer"] == "plain"
        assert config["endpoint"] == f"https://{HIDDEN}@host/v1?api_key={HIDDEN}"
        assert run.manifest["command"].endswith("--n 4")
        kept = everything_on_disk(run.path)
    for content in (kept, everything_on_disk(tmp_path)):
        for secret in ("tr0ub4dor", SHORT, "ab.cd-12", "qwertz99", "typed-by-hand", "dXNlcjpw", "zz99zz99"):
            assert secret.encode() not in content
    # The same secrets, or others, resume the run: they are no part of what was asked for.
    given["config"]["api_key"] = "another-1234"
    Run.open(tmp_path / "run", **given).close()


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("strop eval --api-key=abc --n 4", f"strop eval --api-key={HIDDEN} --n 4"),
        ("strop eval --hf-token 'a b' x", f"strop eval --hf-token {HIDDEN} x"),
        ("OPENAI_API_KEY=abc strop eval", f"OPENAI_API_KEY={HIDDEN} strop eval"),
        ("authorization: bearer abc.def", f"authorization: bearer {HIDDEN}"),
        ("sk-proj-0123456789abcdef!", f"{HIDDEN}!"),
        ("hf_abcdefghijklmnopqrst", HIDDEN),
        (
            "strop eval --max-tokens 512 --eos-token x --tasks a:b@c",
            "strop eval --max-tokens 512 --eos-token x --tasks a:b@c",
        ),
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000/v1"),
    ],
)
def test_what_looks_like_a_credential_is_hidden_in_text_about_the_run(text, hidden):
    assert Secrets({}).hide(text) == hidden


def test_code_is_kept_exactly_unless_it_holds_a_long_secret():
    secrets = Secrets({"KEYMAP": "german", "MY_TOKEN": "0123456789"})
    code = "headers = {'Authorization': 'Bearer ' + token}  # german, password=x"
    assert secrets.hide_in_data(code) == code
    assert secrets.hide_in_data("x0123456789x") == f"x{HIDDEN}x"
    assert secrets.hide("german Germany germany") == f"{HIDDEN} Germany germany"
