"""Secrets on command lines and in what programs keep of them."""

from __future__ import annotations

import pytest

from autotune_nb.secrets.redaction import Redactor

REDACTOR = Redactor({})
LINES = [
    "docker login -u ada -p {} ghcr.io", "docker login --username ada --password {}",
    "docker run -e DB_PASSWORD={} image",
    "echo {} | docker login --password-stdin", "echo {} | sudo -S ls", "gh auth login --with-token <<< {}",
    "kubectl create secret generic x --from-literal=any={} --from-literal=n=$N",
    "kubectl create secret generic x --from-literal any={}", "helm install --set auth.password={} x",
    "curl -u ada:{} http://h", "curl -H 'Authorization: {}' http://h", "curl --oauth2-bearer {} h",
    "curl -H 'Authorization: Bearer {}' http://h", "aws configure set aws_secret_access_key {}",
    "AWS Secret Access Key [None]: {}", "mysql -u ada -p{} db", "mysqldump --password={} db",
    "sshpass -p '{}' ssh ada@h",
    "redis-cli -a {} ping", "psql postgresql://ada:{}@h/db", "PGPASSWORD={} psql", "wandb login {}",
    "ngrok authtoken {}",
    "openssl enc -aes-256-cbc -k {} -in x", "openssl x -passin pass:{}", "zip -P {} a.zip f", "7z x -p{} a.7z",
    "ssh-keygen -N '{}' -f x", "az login --service-principal -u a -p {} --tenant t", "ldapsearch -D cn=a -w {} x",
    "htpasswd -b f ada {}", "%env DB_PASSWORD={}", "%env DB_PASSWORD {}", "%set_env DB_PASSWORD {}", "ENV HF_TOKEN {}",
    "export HF_TOKEN={}", "HF_TOKEN={}\nPATH=/usr/bin", "env: HF_TOKEN={}", "git config --global user.password {}",
    "requirepass {}", "h.example.org:5432:db:ada:{}", "*:*:*:ada:{}", "machine h login ada password {}",
    "    args:\n    - get-token\n    - --client-secret\n    - {}\n", "CREATE USER ada IDENTIFIED BY '{}';",
    '<input type="password" value="{}">', "<password>{}</password>", "<dt>password</dt><dd>{}</dd>",
    "<svg><text x='1'>password:</text><text x='2'>{}</text></svg>", "Password(value='{}', description='Password:')",
]  # fmt: skip
WITH_DIGITS = [
    "huggingface-cli login --token {}", "kubectl --token {} get pods", "vllm serve m --api-key {}",
    "Set-Cookie: session={}; Path=/", "curl -H 'Cookie: a=b; session={}' h",
]  # fmt: skip


@pytest.mark.parametrize("secret", ["hunter2", "correcthorse", "s3cr3t-Va1ue9"])
@pytest.mark.parametrize("line", LINES)
def test_it_goes_and_the_rest_of_the_command_stays(line: str, secret: str) -> None:
    told = REDACTOR.redact(line.format(secret))
    before, _, after = line.format("\0").partition("\0")
    assert secret not in told.text
    assert told.text.startswith(before + "[redacted: ") and told.text.endswith(f"]{after}")


@pytest.mark.parametrize("line", WITH_DIGITS)
def test_what_may_be_a_word_of_a_sentence_takes_digits(line: str) -> None:
    assert "hunter2x" not in REDACTOR.redact(line.format("hunter2x")).text


@pytest.mark.parametrize(
    "line",
    [
        "docker run -p 8080:80 -e MODEL=llama3 image", "mkdir -p /srv/x1", "ssh -p 2222 host1", "echo hello | cat",
        "zip -r a1.zip b", "mysql -u ada -p db1", "curl -o out1 http://h", "git config user.name ada1", "tar -k x1",
        "app.py:1234:name:other:message1", "docker login", "wandb login --relogin", "openssl version -a",
        "echo $TOKEN | docker login --password-stdin", "sshpass -p $PW ssh h", "docker login -p ${{PW}}",
        "kubectl get secret keys1 -o yaml", "%env CUDA_VISIBLE_DEVICES=0", "ENV MODEL llama3", "--set image.tag=v1",
    ],
)  # fmt: skip
def test_other_commands_and_variables_stay(line: str) -> None:
    assert REDACTOR.redact(line).text == line
