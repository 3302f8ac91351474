package journey

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Recording makes a real recording of so many seconds with ffmpeg's test source,
// and returns its file. size is "640x360".
func Recording(t testing.TB, seconds int, size, extension string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "recording."+extension)
	codecs := []string{"-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac"}
	if extension == "webm" {
		codecs = []string{"-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libvorbis"}
	}
	arguments := append([]string{
		"-nostdin", "-loglevel", "error", "-y",
		"-f", "lavfi", "-i", fmt.Sprintf("testsrc2=size=%s:rate=25:duration=%d", size, seconds),
		"-f", "lavfi", "-i", fmt.Sprintf("sine=frequency=440:duration=%d", seconds),
	}, codecs...)
	if output, err := exec.Command("ffmpeg", append(arguments, file)...).CombinedOutput(); err != nil {
		t.Fatalf("ffmpeg makes no recording: %v\n%s", err, output)
	}
	return file
}

// Bytes reads a file.
func Bytes(t testing.TB, file string) []byte {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
