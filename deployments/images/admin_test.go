package images

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// The admin port requires no authentication. In an image it listens on loopback, where the
// image's health check reaches it, unless a deployment sets another address.
func TestImagesBindAdminPortToLoopback(t *testing.T) {
	address := regexp.MustCompile(`\bADMIN_ADDRESS=(\S+):\d+`)
	for _, tier := range []string{"web-tier", "logic-tier"} {
		text, err := os.ReadFile(filepath.Join("..", "..", tier, "Dockerfile"))
		if err != nil {
			t.Fatal(err)
		}
		if found := address.FindSubmatch(text); found == nil || string(found[1]) != "127.0.0.1" {
			t.Errorf("%s: got ADMIN_ADDRESS %q, want 127.0.0.1", tier, found)
		}
	}
}
