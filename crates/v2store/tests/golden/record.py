#!/usr/bin/env python3
"""Fills the answers of the *.story files beside it from a real etcd (3.4, started with --enable-v2).

    record.py <path of the etcd binary> <story>...

Each story runs on an empty etcd of its own. A line `curl ...` is one request, `sleep N` waits N seconds; what
stands below `----` is replaced by status, X-Etcd-Index and body. Two things are made comparable: times become
`T+n`, whole seconds since the story began, and the children of a directory are put in order of their keys.
"""
import datetime, json, shlex, socket, subprocess, sys, tempfile, time, urllib.error, urllib.request


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Etcd:
    def __init__(self, binary):
        self.folder = tempfile.TemporaryDirectory()
        client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        self.keys = client + "/v2/keys"
        self.process = subprocess.Popen(
            [binary, "--enable-v2", "--data-dir", self.folder.name, "--listen-client-urls", client,
             "--advertise-client-urls", client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
             "--initial-cluster", f"default={peer}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while self.index() != "3":
            time.sleep(0.05)
        self.clock_s = 0

    def index(self):
        try:
            with urllib.request.urlopen(self.keys) as answer:
                return answer.headers["X-Etcd-Index"]
        except OSError:
            return None

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()

    def run(self, line):
        words = shlex.split(line)
        if words[0] == "sleep":
            time.sleep(int(words[1]))
            self.clock_s += int(words[1])
            return []
        method, url, data, words = "GET", None, [], words[1:]
        while words:
            word = words.pop(0)
            if word == "-X":
                method = words.pop(0)
            elif word == "-d":
                data.append(words.pop(0))
            else:
                url = word.replace("$KEYS", self.keys)
        body = "&".join(data).encode() if data else None
        request = urllib.request.Request(url, data=body, method=method)
        asked_at = time.time()
        try:
            answer = urllib.request.urlopen(request, timeout=5)
        except urllib.error.HTTPError as error:
            answer = error
        document = self.normal(json.loads(answer.read()), asked_at)
        text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
        return [f"{answer.status} index={answer.headers['X-Etcd-Index']}", text]

    def normal(self, value, asked_at):
        if isinstance(value, dict):
            value = {key: self.normal(inner, asked_at) for key, inner in value.items()}
            if "expiration" in value:
                text = value["expiration"]
                # Go prints up to nine digits of a second; Python reads six.
                stem, _, fraction = text.rstrip("Z").partition(".")
                at = datetime.datetime.fromisoformat(stem + "+00:00").timestamp() + float("0." + (fraction or "0"))
                value["expiration"] = f"T+{self.clock_s + round(at - asked_at)}"
        if isinstance(value, list):
            value = sorted((self.normal(inner, asked_at) for inner in value), key=lambda node: node["key"])
        return value


def record(binary, path):
    etcd, out, answering = Etcd(binary), [], False
    try:
        for line in open(path, encoding="utf-8").read().splitlines():
            if line.startswith(("curl ", "sleep ")):
                out += ["", line] if out and out[-1] and not out[-1].startswith("#") else [line]
                answer = etcd.run(line)
                out += ["----", *answer] if answer else []
                answering = True
            elif line.startswith("#"):
                out += ["", line] if out and out[-1] and not out[-1].startswith("#") else [line]
                answering = False
            elif line and not answering:
                out.append(line)
    finally:
        etcd.stop()
    open(path, "w", encoding="utf-8").write("\n".join(out) + "\n")


for story in sys.argv[2:]:
    record(sys.argv[1], story)
