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

// maxParts bounds a form's fields, as server.MaxForm bounds what is in them.
const maxParts = 100

// attachment is a file that comes with a form. Its bytes are still on their way.
type attachment struct {
	uploads.File
	body io.Reader
}

// parts reads a form with a file, up to the file: forms here have it last. What
// comes after it is passed over.
func (v *Visit) parts(reader *multipart.Reader) error {
	control := http.NewResponseController(v.Writer)
	_ = control.SetReadDeadline(time.Now().Add(server.FormTimeout)) // tests' writers have none
	defer func() { _ = control.SetReadDeadline(time.Time{}) }()
	room := int64(server.MaxForm)
	for range maxParts {
		part, err := reader.NextPart()
		switch {
		case err == io.EOF: // alone: what ends before its last boundary wraps it
			return nil
		case err != nil:
			return cutOff
		}
		_, disposition, _ := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
		if name, isFile := disposition["filename"]; isFile {
			// A browser without a file to send sends one without a name.
			if name != "" {
				v.attached = &attachment{uploads.File{Name: uploads.BaseName(name), ContentType: uploads.MediaType(part.Header.Get("Content-Type"))}, part}
			}
			return nil
		}
		value, err := io.ReadAll(io.LimitReader(part, room+1))
		if room -= int64(len(value)); err != nil {
			return cutOff
		}
		if room < 0 {
			_, _ = io.CopyN(io.Discard, v.Request.Body, server.MaxDrained)
			return tooLarge
		}
		if !utf8.Valid(value) || !utf8.ValidString(part.FormName()) {
			return badText
		}
		v.Request.PostForm.Add(part.FormName(), string(value))
	}
	return tooLarge
}

// fileAnswer is how long the logic tier may take to keep the end of a file, and the page
// after that.
const fileAnswer = 2 * time.Minute

// Upload returns the upload that a form names, once the file that came with it
// has become one; empty when there is neither. Call it after Form. The calls
// after it have the whole budget of a form: what a file took does not count.
func (v *Visit) Upload() (string, error) {
	if v.attached == nil {
		return v.Request.PostForm.Get("upload"), nil
	}
	control := http.NewResponseController(v.Writer)
	upload, err := v.Site.Uploads.Receive(v.Request.Context(), v.caller, v.attached.File, v.attached.body, func(by time.Duration) {
		_ = control.SetReadDeadline(time.Now().Add(by))
		_ = control.SetWriteDeadline(time.Now().Add(by + fileAnswer))
	})
	v.budget(logicclient.FormBudget)
	if err != nil {
		v.drain(control, err)
		return "", err
	}
	_ = control.SetReadDeadline(time.Time{})
	// Should the form be shown again, the file need not be sent again.
	v.Request.PostForm.Set("upload", upload.Name)
	return upload.Name, nil
}

// drain reads on for a moment, so that a browser which still sends sees the page
// that says what is wrong.
func (v *Visit) drain(control *http.ResponseController, err error) {
	if uploads.IsCutOff(err) || errors.Is(err, context.Canceled) {
		return
	}
	_ = control.SetReadDeadline(time.Now().Add(server.FormTimeout))
	_, _ = io.CopyN(io.Discard, v.Request.Body, server.MaxDrained)
	_ = control.SetReadDeadline(time.Time{})
}
