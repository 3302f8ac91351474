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

// outcome selects the result on the page of an operation that has finished.
const outcome = ".outcome"

// LongWork uploads a recording over a failing network, leaves while it is processed, and
// plays it as a notified follower. Then it exports the account, imports the archive and
// cancels an operation.
func LongWork(t *testing.T, chromium context.Context, site string) {
	ada, grace := Browser(t, chromium, site), Browser(t, chromium, site)
	ada.SignUp("ada")
	grace.SignUp("grace")
	channel := ada.CreateChannel("Moving pictures")
	grace.Follow(channel)
	grace.Open("/talks")

	// The network fails in the middle of the upload, then the tab navigates away.
	recording := Recording(t, 20, "1280x720", "mp4")
	form := func(tab *Tab) {
		t.Helper()
		tab.Open(channel)
		tab.SetNetwork(false, float64(len(ReadFile(t, recording)))/4)
		tab.ChooseFile("#file", recording)
		tab.Fill("title", "Looms in motion")
	}
	sent := `document.querySelector("[data-sending] progress").value`
	form(ada)
	ada.WaitUntil(sent + " > 10")
	ada.Screenshot("upload")
	ada.SetNetwork(true, 0)
	ada.WaitUntil(`!document.querySelector("[data-sending]").hidden`)
	ada.SetNetwork(false, float64(len(ReadFile(t, recording)))/4)
	ada.WaitUntil(sent + " > 35")
	ada.Leave()
	form(ada)
	ada.WaitUntil(sent + " > 25") // the upload resumes from its offset
	ada.SetNetwork(false, 0)
	ada.Press("details.publish form button[type=submit]")
	operation := ada.Location()
	if !strings.HasPrefix(operation, "/operations/") {
		t.Fatalf("publishing: got page %s, want an operation", operation)
	}
	ada.Screenshot("operation")
	ada.Leave()

	// The publisher and the follower are notified when the recording is published.
	ada.Open("/channels")
	ada.WaitForTexts(unread, "1")
	grace.WaitForTexts(unread, "1")
	grace.Open("/inbox")
	grace.Press("#inbox .unread h3 a")
	grace.WaitForTexts("main h1", "Looms in motion")
	playRecording(grace)
	grace.Screenshot("watch")
	ada.Open("/inbox")
	ada.Press("#inbox .unread h3 a")
	if got := ada.Location(); got != operation {
		t.Errorf("link in the inbox: got %s, want %s", got, operation)
	}
	ada.Press(outcome + ".succeeded a.button")
	ada.WaitForTexts("main h1", "Looms in motion")

	archive := exportAccount(t, ada)
	importForeignArchive(t, chromium, site, archive)
	cancelPublishing(t, ada, channel)
}

// playRecording checks that the page's player loads the recording and can seek.
func playRecording(b *Tab) {
	b.t.Helper()
	b.WaitUntil(`document.querySelector("video").readyState >= 1`)
	b.Do(`window.seeked = 0; document.querySelector("video").addEventListener("seeked", () => window.seeked++); document.querySelector("video").currentTime = 15`)
	b.WaitUntil(`window.seeked === 1 && document.querySelector("video").readyState >= 2`)
	if !b.EvalBool(`Math.abs(document.querySelector("video").duration - 20) < 1 && document.querySelector("video").videoWidth > 0`) {
		b.t.Error("the recording has the wrong duration or no video")
	}
	if !b.EvalBool(`document.querySelector("video").poster.includes("/recordings/")`) {
		b.t.Error("the recording has no poster")
	}
}

// exportAccount exports an account and returns the file of the archive.
func exportAccount(t *testing.T, b *Tab) (file string) {
	t.Helper()
	b.Open("/account")
	b.Press("form[action='/account/export'] button")
	b.WaitUntil(fmt.Sprintf("document.querySelector(%q) !== null", outcome+".succeeded a[download]"))
	b.Screenshot("exported")
	b.Do(fmt.Sprintf(`window.archive = ""; fetch(document.querySelector(%q).href).then((r) => r.blob()).then((blob) => {
		const reader = new FileReader();
		reader.onload = () => (window.archive = reader.result.split(",")[1]);
		reader.readAsDataURL(blob);
	})`, outcome+" a[download]"))
	b.WaitUntil("window.archive !== ''")
	content, err := base64.StdEncoding.DecodeString(read[string](b, "read the archive", "window.archive"))
	if err != nil {
		t.Fatal(err)
	}
	archive, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatalf("open the archive of %d bytes: %v", len(content), err)
	}
	if len(archive.File) < 3 { // the channel, the talk, the recording
		t.Errorf("got %d files in the archive, want at least 3", len(archive.File))
	}
	file = filepath.Join(t.TempDir(), "archive.zip")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// importForeignArchive imports an archive without JavaScript. Its channels belong to
// another account, so that the import rejects them and names the owner.
func importForeignArchive(t *testing.T, chromium context.Context, site, archive string) {
	t.Helper()
	b := Browser(t, chromium, site).WithoutScripts()
	b.SignUp("mary")
	b.Open("/studio")
	b.ChooseFile("form[action='/studio/import'] input[type=file]", archive)
	b.Press("form[action='/studio/import'] button[type=submit]")
	if got := b.Location(); !strings.HasPrefix(got, "/operations/") {
		b.fail("import", fmt.Errorf("got page %s, want an operation", got))
	}
	b.WaitUntil(fmt.Sprintf("document.querySelector(%q) !== null", outcome)) // the page reloads by itself
	b.Screenshot("imported-without-scripts")
	if rejections := strings.Join(b.Texts(".rejections li"), " "); !strings.Contains(rejections, "belongs to") {
		t.Errorf("channels of another account: got rejections %q, want \"belongs to\"", rejections)
	}
}

// cancelPublishing publishes a recording and cancels the operation.
func cancelPublishing(t *testing.T, b *Tab, channel string) {
	t.Helper()
	b.Open(channel)
	b.Click("details.publish summary")
	b.ChooseFile("#file", Recording(t, 60, "1280x720", "webm"))
	b.Fill("title", "Never mind")
	b.Press("details.publish form button[type=submit]")
	b.Press("form[action$='/cancel'] button")
	b.WaitForTexts(".state", "Cancelled")
	b.Screenshot("cancelled")
	b.Open("/operations")
	if got := len(b.Texts(".operations li")); got != 3 {
		t.Errorf("got %d operations, want 3", got)
	}
	b.Screenshot("operations")
}
