package journey

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// ended is what an operation's page shows at its end.
const ended = ".outcome"

// LongWork is the journey of a recording: dropped on a page over a network that
// breaks, processed while its publisher is elsewhere, watched by a follower who
// was told; then catalogues in and archives out, each behind its handle.
func LongWork(t *testing.T, chromium context.Context, site string) {
	ada, grace := Browser(t, chromium, site), Browser(t, chromium, site)
	ada.SignUp("ada")
	grace.SignUp("grace")
	channel := ada.MakeChannel("Moving pictures")
	grace.Follow(channel)
	grace.Open("/talks")

	// The network goes in the middle of the upload, then the tab.
	recording := Recording(t, 20, "1280x720", "mp4")
	form := func(tab *Tab) {
		t.Helper()
		tab.Open(channel)
		tab.Network(false, float64(len(Bytes(t, recording)))/4)
		tab.Choose("#file", recording)
		tab.Fill("title", "Looms in motion")
	}
	sent := `document.querySelector("[data-sending] progress").value`
	form(ada)
	ada.Holds(sent + " > 10")
	ada.Shot("upload")
	ada.Network(true, 0)
	ada.Holds(`!document.querySelector("[data-sending]").hidden`)
	ada.Network(false, float64(len(Bytes(t, recording)))/4)
	ada.Holds(sent + " > 35")
	ada.Away()
	form(ada)
	ada.Holds(sent + " > 25") // where it was, not from the start
	ada.Network(false, 0)
	ada.Press("details.publish form button[type=submit]")
	operation := ada.Location()
	if !strings.HasPrefix(operation, "/operations/") {
		t.Fatalf("publishing leads to %s", operation)
	}
	ada.Shot("operation")
	ada.Away()

	// She is elsewhere; her inbox says when it is out, and so does her follower's.
	ada.Open("/channels")
	ada.Until(unread, "1")
	grace.Until(unread, "1")
	grace.Open("/inbox")
	grace.Press("#inbox .unread h3 a")
	grace.Until("main h1", "Looms in motion")
	watch(grace)
	grace.Shot("watch")
	ada.Open("/inbox")
	ada.Press("#inbox .unread h3 a")
	if got := ada.Location(); got != operation {
		t.Errorf("her inbox leads to %s", got)
	}
	ada.Press(ended + ".succeeded a.button")
	ada.Until("main h1", "Looms in motion")

	archive := exportAll(t, ada)
	importAgain(t, chromium, site, archive)
	cancelled(t, ada, channel)
}

// watch has the page's player play, and seek.
func watch(b *Tab) {
	b.t.Helper()
	b.Holds(`document.querySelector("video").readyState >= 1`)
	b.Do(`window.seeked = 0; document.querySelector("video").addEventListener("seeked", () => window.seeked++); document.querySelector("video").currentTime = 15`)
	b.Holds(`window.seeked === 1 && document.querySelector("video").readyState >= 2`)
	if !b.Is(`Math.abs(document.querySelector("video").duration - 20) < 1 && document.querySelector("video").videoWidth > 0`) {
		b.t.Error("the recording is not as long as it was, or has no picture")
	}
	if !b.Is(`document.querySelector("video").poster.includes("/recordings/")`) {
		b.t.Error("the recording has no picture to begin with")
	}
}

// exportAll exports everything of an account and returns the archive.
func exportAll(t *testing.T, b *Tab) (file string) {
	t.Helper()
	b.Open("/account")
	b.Press("form[action='/account/export'] button")
	b.Holds(fmt.Sprintf("document.querySelector(%q) !== null", ended+".succeeded a[download]"))
	b.Shot("exported")
	b.Do(fmt.Sprintf(`window.archive = ""; fetch(document.querySelector(%q).href).then((r) => r.blob()).then((blob) => {
		const reader = new FileReader();
		reader.onload = () => (window.archive = reader.result.split(",")[1]);
		reader.readAsDataURL(blob);
	})`, ended+" a[download]"))
	b.Holds("window.archive !== ''")
	content, err := base64.StdEncoding.DecodeString(read[string](b, "read the archive", "window.archive"))
	if err != nil {
		t.Fatal(err)
	}
	opened, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatalf("the archive of %d bytes: %v", len(content), err)
	}
	if len(opened.File) < 3 { // the channel, the talk, the recording
		t.Errorf("the archive has %d files", len(opened.File))
	}
	file = filepath.Join(t.TempDir(), "archive.zip")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// importAgain brings an archive in, without JavaScript: the channels in it belong to
// somebody else, who is named.
func importAgain(t *testing.T, chromium context.Context, site, archive string) {
	t.Helper()
	b := Browser(t, chromium, site).WithoutScripts()
	b.SignUp("mary")
	b.Open("/studio")
	b.Choose("form[action='/studio/import'] input[type=file]", archive)
	b.Press("form[action='/studio/import'] button[type=submit]")
	if got := b.Location(); !strings.HasPrefix(got, "/operations/") {
		b.fail("import", fmt.Errorf("it leads to %s", got))
	}
	b.Holds(fmt.Sprintf("document.querySelector(%q) !== null", ended)) // the page loads itself anew
	b.Shot("imported-without-scripts")
	if refused := strings.Join(b.Texts(".rejections li"), " "); !strings.Contains(refused, "belongs to") {
		t.Errorf("what is somebody else's is refused with %q", refused)
	}
}

// cancelled publishes a recording and changes its mind.
func cancelled(t *testing.T, b *Tab, channel string) {
	t.Helper()
	b.Open(channel)
	b.Tap("details.publish summary")
	b.Choose("#file", Recording(t, 60, "1280x720", "webm"))
	b.Fill("title", "Never mind")
	b.Press("details.publish form button[type=submit]")
	b.Press("form[action$='/cancel'] button")
	b.Until(".state", "Cancelled")
	b.Shot("cancelled")
	b.Open("/operations")
	if got := len(b.Texts(".operations li")); got != 3 {
		t.Errorf("%d operations are listed", got)
	}
	b.Shot("operations")
}
