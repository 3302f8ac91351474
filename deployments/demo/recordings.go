package demo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	mediapb "techtalks.example/proto/techtalks/media/v1"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
)

// recordings are short films, created by recordings/make.sh.
//
//go:embed recordings/*.webm
var recordings embed.FS

// recordedTalks are the talks of ada that have a recording. Each ID is the one that the logic
// tier derives from the title.
var recordedTalks = []struct {
	id, file string
	talk     *talkspb.Talk
}{
	{"two-tones-one-curve", "two-tones", &talkspb.Talk{
		Title: "Two tones, one curve", Tags: []string{"sound", "mathematics"},
		Description: "One tone moves a point from side to side, another up and down. Two to three is a fifth; a quarter of a hertz off, and the curve turns.",
	}},
	{"gradients-that-move", "gradients", &talkspb.Talk{
		Title: "Gradients that move", Tags: []string{"graphics"},
		Description: "Four colours and one slow turn.",
	}},
	{"the-game-of-life-on-a-small-board", "game-of-life", &talkspb.Talk{
		Title: "The game of life on a small board", Tags: []string{"algorithms", "mathematics"},
		Description: "Two rules, and something seems to live. Cells that die fade away.",
	}},
	{"into-the-mandelbrot-set", "mandelbrot", &talkspb.Talk{
		Title: "Into the Mandelbrot set", Tags: []string{"graphics", "mathematics"},
		Description: "The same formula, again and again, closer and closer to its edge.",
	}},
	{"a-message-queue-in-twelve-seconds", "message-queue", &talkspb.Talk{
		Title: "A message queue in twelve seconds", Tags: []string{"queues", "architecture"},
		Description: "A producer publishes a message a second. Each waits in the queue until one of two consumers takes it, and only one does.",
	}},
	{"short-poll-long-poll-push", "poll-and-push", &talkspb.Talk{
		Title: "Short poll, long poll, push", Tags: []string{"communication", "patterns"},
		Description: "Something happens on the server every four seconds; three clients want to know.\n\n" +
			"1. **Short poll** asks every second. Most answers are empty.\n" +
			"2. **Long poll** asks once; the server answers when there is something to say.\n" +
			"3. **Push** keeps one response open, and asks nothing.",
	}},
}

// uploadTimeout bounds LoadRecordings, which runs in the background.
const uploadTimeout = 5 * time.Minute

// LoadRecordings uploads the recordings of ada and requests their publication, as any account
// would. The logic tier publishes each one after it has processed it. LoadRecordings skips talks
// that exist or were withdrawn. Call Load first.
func LoadRecordings(ctx context.Context, logicAddress, certificates string) error {
	ctx, done := context.WithTimeout(ctx, uploadTimeout)
	defer done()
	connection, err := dial(logicAddress, certificates)
	if err != nil {
		return err
	}
	defer connection.Close()
	ada, err := account(ctx, connection, adaHandle, "Ada Lovelace")
	if err != nil {
		return fmt.Errorf("demo account ada: %w", err)
	}
	for _, r := range recordedTalks {
		_, err := talkspb.NewTalksClient(connection).GetTalk(ada, &talkspb.GetTalkRequest{Name: notebook + "/talks/" + r.id})
		if status.Code(err) == codes.NotFound && reason(err) != "TALK_WITHDRAWN" {
			err = publishRecording(ada, connection, r.file, r.talk)
		} else if reason(err) == "TALK_WITHDRAWN" {
			err = nil
		}
		if err != nil {
			return fmt.Errorf("demo recording %s: %w", r.file, err)
		}
	}
	return nil
}

// publishRecording uploads a recording and requests its publication. It uses the same request
// ID in every start, so that repeating it has no effect.
func publishRecording(ada context.Context, connection grpc.ClientConnInterface, file string, talk *talkspb.Talk) error {
	content, err := recordings.ReadFile("recordings/" + file + ".webm")
	if err != nil {
		return err
	}
	request := requestID(file)
	upload, err := upload(ada, mediapb.NewMediaClient(connection), request, file+".webm", content)
	if err != nil {
		return err
	}
	talk.Speakers, talk.Language = []string{"Ada Lovelace"}, "eng"
	_, err = talkspb.NewTalksClient(connection).PublishRecording(ada, &talkspb.PublishRecordingRequest{
		Parent: notebook, Talk: talk, Upload: upload, RequestId: request,
	})
	return err
}

// messageSize is the number of bytes that one message carries.
const messageSize = 64 << 10

// upload creates or resumes the upload of a file, and returns its name.
func upload(ctx context.Context, media mediapb.MediaClient, request, name string, content []byte) (string, error) {
	size := int64(len(content))
	created, err := media.CreateUpload(ctx, &mediapb.CreateUploadRequest{Size: &size, FileName: name, ContentType: "video/webm", RequestId: request})
	if err != nil || created.Upload.Whole {
		return created.GetUpload().GetName(), err
	}
	call, err := media.AppendUpload(ctx)
	if err != nil {
		return "", err
	}
	message := &mediapb.AppendUploadRequest{Name: created.Upload.Name, Offset: created.Upload.Offset}
	for rest := bytes.NewBuffer(content[created.Upload.Offset:]); rest.Len() > 0; {
		message.Data = rest.Next(messageSize)
		if err := call.Send(message); errors.Is(err, io.EOF) {
			break // CloseAndRecv returns the reason
		} else if err != nil {
			return "", err
		}
		message = &mediapb.AppendUploadRequest{}
	}
	_, err = call.CloseAndRecv()
	return created.Upload.Name, err
}

// requestID returns the UUID of a recording's requests, derived from its file name.
func requestID(file string) string {
	sum := sha256.Sum256([]byte("techtalks demo " + file))
	return fmt.Sprintf("%x-%x-%x-%x-%x", sum[:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}
