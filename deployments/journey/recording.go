package journey

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Recording creates a video from ffmpeg's test source and returns its file. size is, for
// example, "640x360"; extension is "mp4" or "webm".
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
		t.Fatalf("create a recording with ffmpeg: %v\n%s", err, output)
	}
	return file
}

// ReadFile returns the content of a file.
func ReadFile(t testing.TB, file string) []byte {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return content
}
