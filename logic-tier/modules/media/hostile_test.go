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

// patch returns a recording in which the bytes at offset after the type of a box are replaced.
func patch(t *testing.T, data []byte, box string, offset int, replacement ...byte) []byte {
	t.Helper()
	i := bytes.LastIndex(data, []byte(box))
	if i < 0 {
		t.Fatalf("recording has no box %s", box)
	}
	data = bytes.Clone(data)
	copy(data[i+4+offset:], replacement)
	return data
}

// The files try to have ffmpeg read other files, open network connections or exhaust memory.
func TestTranscodeRejectsHostileFiles(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			t.Error("ffmpeg opened a network connection")
			_ = conn.Close()
		}
	}()
	secret := filepath.Join(t.TempDir(), "secret.mp4")
	good := ffmpeg(t, ".mp4", "-f", "lavfi", "-i", "testsrc=size=64x64:rate=10", "-t", "1", "-c:v", "mpeg4")
	if err := os.WriteFile(secret, good, 0o600); err != nil {
		t.Fatal(err)
	}
	url := "http://" + listener.Addr().String()
	playlist := "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n" + url + "/a.ts\n#EXTINF:1,\nfile://" + secret + "\n#EXT-X-ENDLIST\n"
	ftyp := good[:binary.BigEndian.Uint32(good)]
	damaged := "cannot be read as video/mp4"
	for name, c := range map[string]struct {
		data []byte
		want string
	}{
		"HLS playlist":                 {[]byte(playlist), "it looks like text/plain"},
		"playlist after an MP4 header": {slices.Concat(ftyp, []byte(playlist)), damaged},
		"DASH manifest":                {[]byte(`<?xml version="1.0"?><MPD><BaseURL>` + url + `</BaseURL></MPD>`), "it looks like text/xml"},
		"concat script":                {[]byte("ffconcat version 1.0\nfile " + secret + "\n"), "it looks like text/plain"},
		"SVG":                          {[]byte(`<svg xmlns="http://www.w3.org/2000/svg"><image href="` + url + `"/></svg>`), "it looks like"},
		"two billion samples":          {patch(t, good, "stsz", 4, 0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff), "pixels"},
		"sample of 4 GB":               {patch(t, good, "stsz", 8+4, 0xff, 0xff, 0xff, 0xf0), damaged},
		"picture too wide":             {ffmpeg(t, ".mov", "-f", "lavfi", "-i", "color=size=30000x16:rate=1", "-t", "1", "-c:v", "mjpeg"), "30000 × 16 pixels"},
		"pixels too wide":              {ffmpeg(t, ".mkv", "-f", "lavfi", "-i", "testsrc=size=128x64:rate=1,setsar=100", "-t", "1", "-c:v", "libx264", "-preset", "ultrafast"), "12800 × 64 pixels"},
	} {
		operation := r.process(r.uploadFile(ada, name, c.data), name)
		r.publishStarted(operation)
		reason, message := s.waitEnded(operation).reason()
		if reason != "RECORDING_UNUSABLE" || !strings.Contains(message, c.want) {
			t.Errorf("%s: got %s %q, want RECORDING_UNUSABLE with %q", name, reason, message, c.want)
		}
	}
	r.wantCleanScratch()
	if files, chunks := r.sweep(); files+chunks > 0 {
		t.Errorf("got %d files and %d chunks left, want none", files, chunks)
	}
}
