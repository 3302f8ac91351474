package media_test

import (
	"bytes"
	"encoding/binary"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// patched returns a recording in which the bytes from offset after a box's type
// are others.
func patched(t *testing.T, data []byte, box string, offset int, with ...byte) []byte {
	t.Helper()
	at := bytes.LastIndex(data, []byte(box))
	if at < 0 {
		t.Fatalf("no %s", box)
	}
	data = bytes.Clone(data)
	copy(data[at+4+offset:], with)
	return data
}

// Files made to have ffmpeg read other files, call out, or take all memory end in
// a clear refusal, and leave nothing.
func TestHostileRecordingsAreRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	calls, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = calls.Close() })
	go func() {
		for {
			call, err := calls.Accept()
			if err != nil {
				return
			}
			t.Error("ffmpeg called out")
			_ = call.Close()
		}
	}()
	secret := filepath.Join(t.TempDir(), "secret.mp4")
	good := ffmpeg(t, ".mp4", "-f", "lavfi", "-i", "testsrc=size=64x64:rate=10", "-t", "1", "-c:v", "mpeg4")
	if err := os.WriteFile(secret, good, 0o600); err != nil {
		t.Fatal(err)
	}
	at := "http://" + calls.Addr().String()
	playlist := "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n" + at + "/a.ts\n#EXTINF:1,\nfile://" + secret + "\n#EXT-X-ENDLIST\n"
	ftyp := good[:binary.BigEndian.Uint32(good)]
	damaged := "cannot be read as video/mp4"
	for name, c := range map[string]struct {
		data []byte
		says string
	}{
		"an HLS playlist":              {[]byte(playlist), "it looks like text/plain"},
		"a playlist behind a header":   {slices.Concat(ftyp, []byte(playlist)), damaged},
		"a DASH manifest":              {[]byte(`<?xml version="1.0"?><MPD><BaseURL>` + at + `</BaseURL></MPD>`), "it looks like text/xml"},
		"a concat script":              {[]byte("ffconcat version 1.0\nfile " + secret + "\n"), "it looks like text/plain"},
		"an SVG":                       {[]byte(`<svg xmlns="http://www.w3.org/2000/svg"><image href="` + at + `"/></svg>`), "it looks like"},
		"two thousand million samples": {patched(t, good, "stsz", 4, 0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff), "pixels"},
		"a sample of 4 GB":             {patched(t, good, "stsz", 8+4, 0xff, 0xff, 0xff, 0xf0), damaged},
		"a picture too wide":           {ffmpeg(t, ".mov", "-f", "lavfi", "-i", "color=size=30000x16:rate=1", "-t", "1", "-c:v", "mjpeg"), "30000 × 16 pixels"},
		"pixels too wide":              {ffmpeg(t, ".mkv", "-f", "lavfi", "-i", "testsrc=size=128x64:rate=1,setsar=100", "-t", "1", "-c:v", "libx264", "-preset", "ultrafast"), "12800 × 64 pixels"},
	} {
		operation := r.process(r.send(ada, name, c.data), name)
		r.startWork(operation)
		reason, message := s.ended(operation).reason()
		if reason != "RECORDING_UNUSABLE" || !strings.Contains(message, c.says) {
			t.Errorf("%s ends with %q: %s", name, reason, message)
		}
	}
	r.leavesNothing()
	if files, chunks := r.swept(); files+chunks > 0 {
		t.Errorf("%d files and %d chunks are left", files, chunks)
	}
}
