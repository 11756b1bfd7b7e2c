#!/usr/bin/env python3
"""A real recogniser behind Whisper's API, as whisper.cpp's server is: it takes WAV alone, and answers what it heard.

Usage: recogniser.py SENTENCES.txt, with pocketsphinx on PYTHONPATH. Prints one line, `listening on http://127.0.0.1:PORT`.

It hears the sentences of the file and no others (a grammar in JSGF, https://www.w3.org/TR/jsgf/). Each request is told on
standard output as a line of JSON: the names of its fields, its prompt, and what was heard.
"""

import io
import json
import random
import re
import sys
import wave
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, HTTPServer

from pocketsphinx import Decoder

LARGEST = 25 * 1024 * 1024


def decoder_of(path):
    sentences = [re.sub(r"[^a-z' ]", " ", line.lower()).split() for line in open(path) if line.strip()]
    # No search of its own: the language model that comes along is large and not needed.
    decoder = Decoder(lm=None, loglevel="FATAL", samprate=16000)
    alternatives = " | ".join(" ".join(words) for words in sentences)
    decoder.add_jsgf_string("sentences", f"#JSGF V1.0;\ngrammar sentences;\npublic <sentence> = {alternatives} ;\n")
    decoder.activate_search("sentences")
    return decoder


def samples_of(data):
    with wave.open(io.BytesIO(data)) as file:
        if (file.getnchannels(), file.getsampwidth(), file.getframerate()) != (1, 2, 16000):
            raise ValueError("it is not mono, 16 kHz, 16 bit")
        return file.readframes(file.getnframes())


def dithered(raw):
    # Digital silence is none to it.
    values = memoryview(raw).cast("h")
    noise = random.Random(1)
    return b"".join(
        max(-32768, min(32767, value + noise.randint(-12, 12))).to_bytes(2, "little", signed=True) for value in values
    )


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(200, {"object": "list", "data": [{"id": "pocketsphinx", "object": "model"}]})

    def do_POST(self):
        length = int(self.headers.get("content-length", 0))
        if length > LARGEST:
            return self.answer(413, {"error": {"message": "the file is too large"}})
        body = self.rfile.read(length)
        if self.path.rstrip("/").split("/")[-1] != "transcriptions":
            return self.answer(404, {"error": {"message": "there is nothing here"}})
        head = b"content-type: " + self.headers.get("content-type", "").encode() + b"\r\n\r\n"
        fields = {}
        for part in BytesParser(policy=HTTP).parsebytes(head + body).iter_parts():
            fields[part.get_param("name", header="content-disposition")] = part.get_payload(decode=True)
        try:
            raw = samples_of(fields.get("file", b""))
        except (wave.Error, EOFError, ValueError) as error:
            return self.answer(400, {"error": {"message": f"unsupported format: {error}"}})
        self.server.decoder.start_utt()
        self.server.decoder.process_raw(dithered(raw), full_utt=True)
        self.server.decoder.end_utt()
        found = self.server.decoder.hyp()
        text = found.hypstr if found else ""
        prompt = fields.get("prompt", b"").decode()
        print(json.dumps({"fields": sorted(fields), "prompt": prompt, "heard": text}), flush=True)
        seconds = len(raw) / 32000
        self.answer(
            200,
            {
                "task": "transcribe",
                "language": "english",
                "duration": seconds,
                "text": text,
                "segments": [{"id": 0, "start": 0.0, "end": seconds, "text": text}],
            },
        )

    def answer(self, status, value):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


def main():
    server = HTTPServer(("127.0.0.1", 0), Handler)
    server.decoder = decoder_of(sys.argv[1])
    print(f"listening on http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


main()
