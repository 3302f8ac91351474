package talks

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/fieldmaskpb"

	mediapb "techtalks.example/proto/techtalks/media/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
	"techtalks.example/web-tier/pages/ui"
	"techtalks.example/web-tier/platform/logicclient"
	"techtalks.example/web-tier/platform/server"
)

// talkName returns the resource name of the talk in the request's URL.
func talkName(v *ui.PageContext) string {
	return "channels/" + v.Request.PathValue("channel") + "/talks/" + v.Request.PathValue("talk")
}

// Show renders a talk. The Content-Security-Policy lets the page load media from this
// site when the recording is stored here, and from other sites when the page plays a
// linked file; otherwise from nowhere.
func Show(v *ui.PageContext) error {
	t, err := get(v)
	if err != nil {
		if p := logicclient.Explain(err); p.Reason == "TALK_WITHDRAWN" {
			p.Status, p.Title = http.StatusGone, "Talk withdrawn"
			return p
		}
		return err
	}
	stored, err := recording(v, t)
	if err != nil {
		return err
	}
	if stored != nil || linkedMedia(t).contentType != "" {
		v.Scripts = append(v.Scripts, "player.js")
	}
	switch {
	case stored != nil:
		v.Writer.Header().Set("Content-Security-Policy", server.ContentSecurityPolicy("'self'"))
	case linkedMedia(t).contentType != "":
		v.Writer.Header().Set("Content-Security-Policy", server.ContentSecurityPolicy("https: http:"))
	}
	return v.Render(http.StatusOK, talkPage(v, t, stored))
}

// recording returns the talk's stored recording; nil if it has none or it has been
// deleted.
func recording(v *ui.PageContext, t *talkspb.Talk) (*mediapb.Recording, error) {
	if t.Recording == "" {
		return nil, nil
	}
	answer, err := v.Site.Tier.Media.GetRecording(v.Context(), &mediapb.GetRecordingRequest{Name: t.Recording})
	if err != nil && logicclient.Explain(err).Reason == "RECORDING_NOT_FOUND" {
		return nil, nil
	}
	return answer.GetRecording(), err
}

// get fetches the talk in the request's URL.
func get(v *ui.PageContext) (t *talkspb.Talk, err error) {
	err = v.FetchAll(func(ctx context.Context) error {
		answer, err := v.Site.Tier.Talks.GetTalk(ctx, &talkspb.GetTalkRequest{Name: talkName(v)})
		t = answer.GetTalk()
		return err
	})
	return t, err
}

// media is a recording on another site.
type media struct {
	url         string
	contentType string // of a file that the browser can play; empty for a web page
	host        string
}

// linkedMedia returns the media that the talk links to; zero if the talk has no link
// or one that is not HTTP.
func linkedMedia(t *talkspb.Talk) media {
	u, err := url.Parse(t.MediaUrl)
	if err != nil || t.MediaUrl == "" || u.Scheme != "https" && u.Scheme != "http" {
		return media{}
	}
	m := media{url: t.MediaUrl, host: strings.TrimPrefix(u.Hostname(), "www.")}
	switch strings.ToLower(path.Ext(u.Path)) {
	case ".mp4":
		m.contentType = "video/mp4"
	case ".webm":
		m.contentType = "video/webm"
	}
	return m
}

// playbackOrder returns the files in the order the player tries them. The original
// comes last: its size is unbounded.
func playbackOrder(files []*mediapb.Recording_Rendition) []*mediapb.Recording_Rendition {
	originals := slices.DeleteFunc(slices.Clone(files), func(f *mediapb.Recording_Rendition) bool { return !isOriginal(f) })
	return append(slices.DeleteFunc(slices.Clone(files), isOriginal), originals...)
}

func isOriginal(file *mediapb.Recording_Rendition) bool { return path.Base(file.File) == "original" }

// quality returns the label of a file of a recording: "480p", "Original".
func quality(file *mediapb.Recording_Rendition) string {
	if isOriginal(file) {
		return "Original"
	}
	return path.Base(file.File)
}

// fileSummary describes a file of a recording: "854 × 480, mp4, 12 MB".
func fileSummary(file *mediapb.Recording_Rendition) string {
	_, format, _ := strings.Cut(file.ContentType, "/")
	parts := []string{format, ui.Bytes(file.Size)}
	if file.Width > 0 && file.Height > 0 {
		parts = append([]string{fmt.Sprintf("%d × %d", file.Width, file.Height)}, parts...)
	}
	return strings.Join(parts, ", ")
}

// Edit renders the form that edits a talk.
func Edit(v *ui.PageContext) error {
	t, err := get(v)
	if err != nil {
		return err
	}
	if !t.CanEdit {
		return &logicclient.Problem{Status: http.StatusForbidden, Title: "You can't edit this talk", Message: "Only the account that published a talk can edit it."}
	}
	return v.Render(http.StatusOK, editPage(v, t, ui.TalkFields(t)))
}

// Save updates a talk from the submitted form.
func Save(v *ui.PageContext) error {
	err := v.ParseForm()
	var answer *talkspb.UpdateTalkResponse
	if err == nil {
		err = ui.CheckDescription(ui.SubmittedTalk(v).Description)
	}
	if err == nil {
		t := ui.SubmittedTalk(v)
		t.Name = talkName(v)
		answer, err = v.Site.Tier.Talks.UpdateTalk(v.Context(), &talkspb.UpdateTalkRequest{
			Talk: t, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"title", "speakers", "language", "tags", "description", "media_url"}},
		})
	}
	if err != nil {
		if form, status, ok := v.WithErrors(v.Submitted(ui.TalkFieldNames...), err, nil); ok {
			t, err := get(v)
			if err != nil {
				return err
			}
			return v.Render(status, editPage(v, t, form))
		}
		return err
	}
	return v.Redirect(ui.Path(answer.Talk.Name))
}

// Withdraw withdraws a talk and redirects to its channel.
func Withdraw(v *ui.PageContext) error {
	if _, err := v.Site.Tier.Talks.WithdrawTalk(v.Context(), &talkspb.WithdrawTalkRequest{Name: talkName(v)}); err != nil {
		return err
	}
	return v.Redirect("/channels/" + url.PathEscape(v.Request.PathValue("channel")))
}
