package ui

import (
	"context"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"time"
	"unicode/utf8"

	"techtalks.example/web-tier/platform/logicclient"
	"techtalks.example/web-tier/platform/server"
	"techtalks.example/web-tier/platform/uploads"
)

// maxParts limits the number of fields in a form; server.MaxForm limits their size.
const maxParts = 100

// attachment is the file of a multipart form. Its body is read from the connection.
type attachment struct {
	uploads.File
	body io.Reader
}

// parseMultipart parses the fields of a multipart form up to its file. Forms of this site
// have the file last; fields after it are ignored.
func (v *PageContext) parseMultipart(reader *multipart.Reader) error {
	control := http.NewResponseController(v.Writer)
	_ = control.SetReadDeadline(time.Now().Add(server.FormTimeout)) // a test's ResponseRecorder does not support deadlines
	defer func() { _ = control.SetReadDeadline(time.Time{}) }()
	remaining := int64(server.MaxForm)
	for range maxParts {
		part, err := reader.NextPart()
		switch {
		case err == io.EOF: // unwrapped; a body that ends before its final boundary wraps it
			return nil
		case err != nil:
			return errFormInterrupted
		}
		_, disposition, _ := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
		if name, isFile := disposition["filename"]; isFile {
			// Without a chosen file, browsers send an empty file name.
			if name != "" {
				v.attached = &attachment{uploads.File{Name: uploads.BaseName(name), ContentType: uploads.MediaType(part.Header.Get("Content-Type"))}, part}
			}
			return nil
		}
		value, err := io.ReadAll(io.LimitReader(part, remaining+1))
		if remaining -= int64(len(value)); err != nil {
			return errFormInterrupted
		}
		if remaining < 0 {
			_, _ = io.CopyN(io.Discard, v.Request.Body, server.MaxDrained)
			return errFormTooLarge
		}
		if !utf8.Valid(value) || !utf8.ValidString(part.FormName()) {
			return errNotUTF8
		}
		v.Request.PostForm.Add(part.FormName(), string(value))
	}
	return errFormTooLarge
}

// uploadResponseTimeout is how long storing the end of a file and rendering the page may take.
const uploadResponseTimeout = 2 * time.Minute

// Upload returns the resource name of the form's upload: the attached file, which it stores
// first, or the value of the field upload. It returns "" if there is neither. Call it after
// ParseForm. It renews the form's budget: receiving the file does not count towards it.
func (v *PageContext) Upload() (string, error) {
	if v.attached == nil {
		return v.Request.PostForm.Get("upload"), nil
	}
	control := http.NewResponseController(v.Writer)
	upload, err := v.Site.Uploads.Receive(v.Request.Context(), v.caller, v.attached.File, v.attached.body, func(d time.Duration) {
		_ = control.SetReadDeadline(time.Now().Add(d))
		_ = control.SetWriteDeadline(time.Now().Add(d + uploadResponseTimeout))
	})
	v.setBudget(logicclient.FormBudget)
	if err != nil {
		v.drain(control, err)
		return "", err
	}
	_ = control.SetReadDeadline(time.Time{})
	// If the form is shown again, it refers to the stored file.
	v.Request.PostForm.Set("upload", upload.Name)
	return upload.Name, nil
}

// drain discards more of the body for a short time. A browser that is still sending would
// otherwise report a broken connection instead of showing the error page.
func (v *PageContext) drain(control *http.ResponseController, err error) {
	if uploads.IsInterrupted(err) || errors.Is(err, context.Canceled) {
		return
	}
	_ = control.SetReadDeadline(time.Now().Add(server.FormTimeout))
	_, _ = io.CopyN(io.Discard, v.Request.Body, server.MaxDrained)
	_ = control.SetReadDeadline(time.Time{})
}
