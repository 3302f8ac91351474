package media_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"techtalks.example/logic-tier/modules/media"
	"techtalks.example/logic-tier/platform/caller"
	mediapb "techtalks.example/proto/techtalks/media/v1"
)

// A client that loses its connection anywhere asks how far the upload is, and
// goes on: the bytes are those that were sent.
func TestAnUploadSurvivesDisconnectsAnywhere(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	data := noise(1, 3*media.ChunkSize+12345)
	name := r.begin(ada, &mediapb.CreateUploadRequest{Size: proto.Int64(int64(len(data))), FileName: "talk.mp4", Sha256: strings.ToUpper(sum(data))})
	chance := rand.New(rand.NewPCG(1, 2))
	for lost := 0; ; {
		now, err := r.GetUpload(r.as(ada), &mediapb.GetUploadRequest{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		offset := now.Upload.Offset
		if now.Upload.Whole {
			if lost < 8 {
				t.Errorf("only %d connections were lost", lost)
			}
			if offset != int64(len(data)) || now.Upload.Sha256 != sum(data) {
				t.Errorf("it ends as %v", now.Upload)
			}
			break
		}
		if lost++; lost > 1000 {
			t.Fatalf("it does not become whole: %v", now.Upload)
		}
		r.vanish(name, offset, data[offset:offset+min(int64(len(data))-offset, int64(1+chance.IntN(100_000)))], 1+chance.IntN(70_000))
	}
	got, err := r.read(ada, name, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "what is read", got, data)
	if got := s.count(`select count(*) from media.chunk`); got != 4 {
		t.Errorf("%d chunks, want 4", got)
	}
}

// A client that does not hear whether its upload was begun asks again, with the same
// id: it is one upload.
func TestAnUploadIsBegunOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	request := &mediapb.CreateUploadRequest{Size: proto.Int64(4), FileName: "talk.mp4", RequestId: "4f0e2a52-6f1c-4a53-8f6e-0d2c8e1f7a11"}
	first := r.begin(ada, request)
	if _, err := r.append(ada, first, 0, []byte("ta"), 2); err != nil {
		t.Fatal(err)
	}
	request.RequestId = strings.ToUpper(request.RequestId)
	again, err := r.CreateUpload(r.as(ada), request)
	if err != nil {
		t.Fatal(err)
	}
	if again.Upload.Name != first || again.Upload.Offset != 2 {
		t.Errorf("asked for again, %s is %v", first, again.Upload)
	}
	if others := r.begin(grace, request); others == first {
		t.Error("somebody else's request gives the same upload")
	}
	request.RequestId = ""
	if first, second := r.begin(ada, request), r.begin(ada, request); first == second {
		t.Error("without an id two uploads are one")
	}
}

// vanish appends and is gone in the middle of it: what was taken by then is kept,
// perhaps only after the client asks how much that is.
func (r *replica) vanish(name string, offset int64, data []byte, size int) {
	r.site.t.Helper()
	ctx, gone := context.WithCancel(r.as(ada))
	defer gone()
	call, err := r.AppendUpload(ctx)
	if err != nil {
		r.site.t.Fatal(err)
	}
	message := &mediapb.AppendUploadRequest{Name: name, Offset: offset}
	for len(data) > 0 {
		message.Data = data[:min(size, len(data))]
		data = data[len(message.Data):]
		if err := call.Send(message); err != nil {
			return // it was not where the upload ends by now
		}
		message = &mediapb.AppendUploadRequest{}
	}
}

func TestAppendingElsewhereIsRefused(t *testing.T) {
	t.Parallel()
	r := newSite(t).start()
	data := noise(2, 1000)
	name := r.begin(ada, &mediapb.CreateUploadRequest{Size: proto.Int64(1000)})
	if _, err := r.append(ada, name, 0, data[:400], 100); err != nil {
		t.Fatal(err)
	}
	for _, offset := range []int64{0, 399, 401, 1000, 1 << 40} {
		_, err := r.append(ada, name, offset, data[400:], 100)
		wants(t, err, "OFFSET_MISMATCH")
	}
	if u, err := r.append(ada, name, 400, nil, 1); err != nil || u.Offset != 400 || u.Whole {
		t.Errorf("nothing appended in the right place: %v, %v", u, err)
	}
	if u, err := r.append(ada, name, 400, data[400:], 100); err != nil || !u.Whole {
		t.Errorf("%v, %v", u, err)
	}
	if u, err := r.append(ada, name, 1000, nil, 1); err != nil || !u.Whole {
		t.Errorf("nothing appended to a whole one: %v, %v", u, err)
	}
	call, err := r.AppendUpload(r.as(ada))
	if err != nil {
		t.Fatal(err)
	}
	_, err = call.CloseAndRecv()
	wants(t, err, "UPLOAD_NOT_SAID")
}

// A client whose connection broke unnoticed continues over another one. Whoever opens
// many requests on one upload has one of them.
func TestNewestRequestAppendsAlone(t *testing.T) {
	t.Parallel()
	r := newSite(t).start()
	data := noise(11, 1000)
	name := r.begin(ada, &mediapb.CreateUploadRequest{Size: proto.Int64(1000)})
	const requests = 20
	var older grpc.ClientStreamingClient[mediapb.AppendUploadRequest, mediapb.AppendUploadResponse]
	var appends any
	for i := range requests {
		call, err := r.AppendUpload(r.as(ada))
		if err != nil {
			t.Fatal(err)
		}
		if err := call.Send(&mediapb.AppendUploadRequest{Name: name, Offset: int64(i), Data: data[i : i+1]}); err != nil {
			t.Fatal(err)
		}
		r.site.until("the request appends", func() bool {
			now := r.module.Appender(strings.TrimPrefix(name, "uploads/"))
			is := now != nil && now != appends
			if is {
				appends = now
			}
			return is
		})
		if older != nil {
			// It is answered though it is still sending, and what it sent is kept.
			err := older.RecvMsg(&mediapb.AppendUploadResponse{})
			wants(t, err, "UPLOAD_SUPERSEDED")
		}
		older = call
	}
	if err := older.Send(&mediapb.AppendUploadRequest{Data: data[requests:]}); err != nil {
		t.Fatal(err)
	}
	answer, err := older.CloseAndRecv()
	if err != nil || !answer.Upload.Whole {
		t.Errorf("the newest request: %v, %v", answer, err)
	}
	got, err := r.read(ada, name, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "what is read", got, data)

	// Somebody else cannot take it over.
	other := r.begin(ada, &mediapb.CreateUploadRequest{})
	call, err := r.AppendUpload(r.as(ada))
	if err != nil {
		t.Fatal(err)
	}
	if err := call.Send(&mediapb.AppendUploadRequest{Name: other, Data: data[:10]}); err != nil {
		t.Fatal(err)
	}
	r.site.until("the owner's request appends", func() bool { return r.module.Appender(strings.TrimPrefix(other, "uploads/")) != nil })
	_, err = r.append(grace, other, 0, data, 1000)
	wants(t, err, "UPLOAD_NOT_FOUND")
	if answer, err := call.CloseAndRecv(); err != nil || answer.Upload.Offset != 10 {
		t.Errorf("the owner's request: %v, %v", answer, err)
	}
}

// Two clients append to one upload at once, in two processes: what is kept is one's bytes up to
// somewhere, and nothing of the other's in between.
func TestTwoClientsOnOneUploadMixNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	replicas := []*replica{r, s.start()}
	const size = 6*media.ChunkSize + 7
	name := r.begin(ada, &mediapb.CreateUploadRequest{Size: proto.Int64(size)})
	sent := [][]byte{noise(3, size), noise(4, size)}
	outcomes := make([]error, 2)
	var both sync.WaitGroup
	for i, data := range sent {
		both.Go(func() { _, outcomes[i] = replicas[i].append(ada, name, 0, data, 50_000) })
	}
	both.Wait()
	won := -1
	for i, err := range outcomes {
		if err == nil {
			if won >= 0 {
				t.Error("both were told that all of theirs is there")
			}
			won = i
		} else {
			wants(t, err, "OFFSET_MISMATCH")
		}
	}
	now, err := r.GetUpload(r.as(ada), &mediapb.GetUploadRequest{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.read(module, name, 0, 0)
	if err != nil || int64(len(got)) != now.Upload.Offset {
		t.Fatalf("%d bytes of %v, %v", len(got), now.Upload, err)
	}
	// A chunk is one's or the other's: each commit belongs to who knew where the
	// upload ended.
	for at := 0; at < len(got); at += media.ChunkSize {
		end := min(at+media.ChunkSize, len(got))
		if string(got[at:end]) != string(sent[0][at:end]) && string(got[at:end]) != string(sent[1][at:end]) {
			t.Fatalf("chunk at %d is neither's", at)
		}
	}
	if won >= 0 {
		same(t, "the winner's bytes", got, sent[won])
	}
}

func TestBytesThatAreNotTheFilesAreRemoved(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	data := noise(5, media.ChunkSize+1)
	for _, size := range []*int64{proto.Int64(int64(len(data))), nil} {
		name := r.begin(ada, &mediapb.CreateUploadRequest{Size: size, Sha256: sum([]byte("something else"))})
		_, err := r.append(ada, name, 0, data, 100_000)
		if size == nil && err == nil {
			_, err = r.CompleteUpload(r.as(ada), &mediapb.CompleteUploadRequest{Name: name, Size: int64(len(data))})
		}
		wants(t, err, "CHECKSUM_MISMATCH")
		_, err = r.GetUpload(r.as(ada), &mediapb.GetUploadRequest{Name: name})
		wants(t, err, "UPLOAD_NOT_FOUND")
	}
	if files, chunks := r.swept(); files+chunks > 0 {
		t.Errorf("%d files and %d chunks are left", files, chunks)
	}
}

func TestAnUploadTakesNoMoreThanItsSize(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start(func(n *media.Needs) { n.Limits.Upload = 5000 })
	name := r.begin(ada, &mediapb.CreateUploadRequest{Size: proto.Int64(1000)})
	_, err := r.append(ada, name, 0, noise(6, 1001), 500)
	wants(t, err, "UPLOAD_TOO_LONG")
	now, err := r.GetUpload(r.as(ada), &mediapb.GetUploadRequest{Name: name})
	if err != nil || now.Upload.Offset != 1000 || !now.Upload.Whole {
		t.Errorf("what fitted is there: %v, %v", now, err)
	}
	_, err = r.append(ada, name, 1000, []byte("x"), 1)
	wants(t, err, "UPLOAD_TOO_LONG")

	unknown := r.begin(ada, &mediapb.CreateUploadRequest{})
	_, err = r.append(ada, unknown, 0, noise(6, 5001), 5001)
	wants(t, err, "UPLOAD_TOO_LONG")
	_, err = r.CreateUpload(r.as(ada), &mediapb.CreateUploadRequest{Size: proto.Int64(5001)})
	wants(t, err, "UPLOAD_TOO_LONG")
}

func TestAnUploadOfUnknownSizeIsWholeWhenItIsSaid(t *testing.T) {
	t.Parallel()
	r := newSite(t).start()
	data := noise(7, 2*media.ChunkSize)
	name := r.begin(ada, &mediapb.CreateUploadRequest{Sha256: sum(data)})
	u, err := r.append(ada, name, 0, data, media.ChunkSize)
	if err != nil || u.Whole || u.Size != nil {
		t.Fatalf("%v, %v", u, err)
	}
	_, err = r.read(ada, name, 0, 0)
	wants(t, err, "FILE_NOT_FOUND")
	_, err = r.CompleteUpload(r.as(ada), &mediapb.CompleteUploadRequest{Name: name, Size: int64(len(data)) - 1})
	wants(t, err, "OFFSET_MISMATCH")
	for range 2 {
		done, err := r.CompleteUpload(r.as(ada), &mediapb.CompleteUploadRequest{Name: name, Size: int64(len(data))})
		if err != nil || !done.Upload.Whole || done.Upload.Sha256 != sum(data) {
			t.Errorf("%v, %v", done, err)
		}
	}
	_, err = r.append(ada, name, int64(len(data)), []byte("more"), 4)
	wants(t, err, "UPLOAD_WHOLE")
	got, err := r.read(ada, name, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "what is read", got, data)
}

func TestAClaimCostsNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	name := r.begin(ada, &mediapb.CreateUploadRequest{Size: proto.Int64(8 << 30)})
	if _, err := r.append(ada, name, 0, noise(8, 1024), 1024); err != nil {
		t.Fatal(err)
	}
	if got := s.count(`select sum(octet_length(bytes)) from media.chunk`); got != 1024 {
		t.Errorf("%d bytes are kept of 1,024", got)
	}
}

func TestUploadsAreRefusedWhenTheSiteIsFull(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start(func(n *media.Needs) { n.Limits = media.Limits{Total: 10_000} })
	first := r.begin(ada, &mediapb.CreateUploadRequest{Size: proto.Int64(6000)})
	second := r.begin(grace, &mediapb.CreateUploadRequest{Size: proto.Int64(6000)})
	if _, err := r.append(ada, first, 0, noise(1, 6000), 6000); err != nil {
		t.Fatal(err)
	}
	_, err := r.append(grace, second, 0, noise(2, 6000), 6000)
	wants(t, err, "STORAGE_FULL")
	for _, who := range []caller.Call{ada, operator, module} {
		_, err = r.CreateUpload(r.as(who), &mediapb.CreateUploadRequest{Size: proto.Int64(6000), AccountId: 1})
		wants(t, err, "STORAGE_FULL")
	}
	// Another replica counts what is there when it starts; what fits is taken.
	other := s.start(func(n *media.Needs) { n.Limits = media.Limits{Total: 10_000} })
	if err := other.module.SweepNow(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = other.CreateUpload(r.as(ada), &mediapb.CreateUploadRequest{Size: proto.Int64(6000)})
	wants(t, err, "STORAGE_FULL")
	if _, err := other.CreateUpload(r.as(ada), &mediapb.CreateUploadRequest{Size: proto.Int64(4000)}); err != nil {
		t.Errorf("what fits: %v", err)
	}
	// What is there goes on being read, and deleting it makes room.
	got, err := r.read(ada, first, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "what was kept before", got, noise(1, 6000))
	if _, err := r.DeleteUpload(r.as(ada), &mediapb.DeleteUploadRequest{Name: first}); err != nil {
		t.Fatal(err)
	}
	r.swept()
	if u, err := r.append(grace, second, 0, noise(2, 6000), 6000); err != nil || !u.Whole {
		t.Errorf("after room was made: %v, %v", u, err)
	}
}

func TestQuotas(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start(func(n *media.Needs) {
		n.Limits = media.Limits{Stored: 10_000, Unfinished: 3, Uploads: 5}
	})
	begin := func(who caller.Call, size int64) (string, error) {
		answer, err := r.CreateUpload(r.as(who), &mediapb.CreateUploadRequest{Size: proto.Int64(size), AccountId: 1})
		return answer.GetUpload().GetName(), err
	}
	_, err := begin(ada, 10_001)
	wants(t, err, "QUOTA_EXCEEDED")
	// Claims reserve nothing: both fit alone, together they do not.
	var names []string
	for range 3 {
		name, err := begin(ada, 6000)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	_, err = begin(ada, 1)
	wants(t, err, "TOO_MANY_UPLOADS")
	if _, err := begin(grace, 1); err != nil {
		t.Errorf("another account: %v", err)
	}
	if _, err := begin(operator, 6000); err != nil {
		t.Errorf("the operator: %v", err)
	}
	if _, err := begin(module, 6000); err != nil {
		t.Errorf("what a module makes for it: %v", err)
	}
	if _, err := r.append(ada, names[0], 0, noise(9, 6000), 6000); err != nil {
		t.Fatal(err)
	}
	_, err = r.append(ada, names[1], 0, noise(9, 6000), 4000)
	wants(t, err, "QUOTA_EXCEEDED")
	// What is deleted makes room.
	if _, err := r.DeleteUpload(r.as(ada), &mediapb.DeleteUploadRequest{Name: names[0]}); err != nil {
		t.Fatal(err)
	}
	now, err := r.GetUpload(r.as(ada), &mediapb.GetUploadRequest{Name: names[1]})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.append(ada, names[1], now.Upload.Offset, noise(9, 6000)[now.Upload.Offset:], 6000); err != nil {
		t.Errorf("after room was made: %v", err)
	}
}

func TestUploadsThatAreNotUsedExpireWithTheirBytes(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	var names []string
	for i := range 3 {
		name := r.begin(ada, &mediapb.CreateUploadRequest{Size: proto.Int64(70 * media.ChunkSize)})
		size := []int{70 * media.ChunkSize, 1000, 1000}[i] // whole, over a batch of chunks; two not whole
		if _, err := r.append(ada, name, 0, noise(10, size), 1<<20); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	for _, name := range names[:2] {
		s.exec(`update media.upload set expire_time = now() - interval '1 second' where 'uploads/' || id = $1`, name)
	}
	if files, chunks := r.swept(); files != 1 || chunks != 1 {
		t.Errorf("%d files and %d chunks are left, want the one that has not expired", files, chunks)
	}
	_, err := r.GetUpload(r.as(ada), &mediapb.GetUploadRequest{Name: names[0]})
	wants(t, err, "UPLOAD_NOT_FOUND")
	// Who appends is not done with it.
	s.exec(`update media.upload set expire_time = now() + interval '1 second'`)
	u, err := r.append(ada, names[2], 1000, noise(10, 10), 10)
	if err != nil || u.ExpireTime.AsTime().Sub(u.CreateTime.AsTime()).Hours() < 167 {
		t.Errorf("after more came it expires at %v, %v", u.GetExpireTime().AsTime(), err)
	}
}

func TestSomebodyElsesUploadIsNotThere(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	name := r.begin(ada, &mediapb.CreateUploadRequest{Size: proto.Int64(10), AccountId: 2}) // not hers to say
	if got := s.count(`select account from media.upload`); got != 1 {
		t.Errorf("it is account %d's", got)
	}
	made := "uploads/" + strings.Repeat("a", 26)
	for _, c := range []struct {
		who    caller.Call
		name   string
		reason string
	}{
		{grace, name, "UPLOAD_NOT_FOUND"}, {operator, name, "UPLOAD_NOT_FOUND"}, {ada, made, "UPLOAD_NOT_FOUND"},
		{ada, "uploads/x", "UPLOAD_NOT_FOUND"}, {ada, strings.ToUpper(name), "UPLOAD_NOT_FOUND"}, {nobody, name, "SESSION_REQUIRED"},
	} {
		ctx := r.as(c.who)
		_, err := r.GetUpload(ctx, &mediapb.GetUploadRequest{Name: c.name})
		wants(t, err, c.reason)
		_, err = r.append(c.who, c.name, 0, []byte("x"), 1)
		wants(t, err, c.reason)
		_, err = r.CompleteUpload(ctx, &mediapb.CompleteUploadRequest{Name: c.name, Size: 1})
		wants(t, err, c.reason)
		_, err = r.DeleteUpload(ctx, &mediapb.DeleteUploadRequest{Name: c.name})
		if c.reason == "UPLOAD_NOT_FOUND" && err != nil {
			t.Errorf("deleting what is not there: %v", err)
		}
		_, err = r.GetFile(ctx, &mediapb.GetFileRequest{Name: c.name})
		wants(t, err, strings.Replace(c.reason, "UPLOAD", "FILE", 1))
		_, err = r.read(c.who, c.name, 0, 0)
		wants(t, err, strings.Replace(c.reason, "UPLOAD", "FILE", 1))
	}
	_, err := r.CreateUpload(r.as(nobody), &mediapb.CreateUploadRequest{Size: proto.Int64(1)})
	wants(t, err, "SESSION_REQUIRED")
	if u, err := r.append(ada, name, 0, []byte("0123456789"), 10); err != nil || !u.Whole {
		t.Errorf("for its owner: %v, %v", u, err)
	}
	theirs := r.begin(module, &mediapb.CreateUploadRequest{AccountId: 2})
	if _, err := r.GetUpload(r.as(grace), &mediapb.GetUploadRequest{Name: theirs}); err != nil {
		t.Errorf("what a module made for grace: %v", err)
	}
}

func TestRangesAreReadAcrossChunks(t *testing.T) {
	t.Parallel()
	r := newSite(t).start()
	data := noise(11, 2*media.ChunkSize+100)
	name := r.send(ada, "talk.webm", data)
	size := int64(len(data))
	for _, c := range [][2]int64{
		{0, 0}, {0, 1}, {media.ChunkSize - 1, 2}, {media.ChunkSize, 1}, {media.ChunkSize, media.ChunkSize},
		{100, media.ChunkSize}, {media.ChunkSize - 1, media.ChunkSize + 2}, {size - 1, 0}, {size - 1, 100}, {size, 0}, {3, 1 << 62},
	} {
		got, err := r.read(ada, name, c[0], c[1])
		if err != nil {
			t.Errorf("%v: %v", c, err)
		}
		want := data[c[0]:]
		if c[1] > 0 && c[1] < int64(len(want)) {
			want = want[:c[1]]
		}
		same(t, fmt.Sprint(c), got, want)
	}
	_, err := r.read(ada, name, size+1, 0)
	wants(t, err, "OFFSET_BEYOND_END")
	f, err := r.GetFile(r.as(ada), &mediapb.GetFileRequest{Name: name})
	if err != nil || f.File.Size != size || f.File.Sha256 != sum(data) || f.File.FileName != "talk.webm" {
		t.Errorf("%v, %v", f, err)
	}
}

// A reader that stops reading holds no connection to the database.
func TestASlowReaderHoldsNoConnection(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	name := r.send(ada, "", noise(12, 4*media.ChunkSize))
	const readers = 30 // more than the pool has connections
	for range readers {
		call, err := r.ReadFile(r.as(ada), &mediapb.ReadFileRequest{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := call.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	s.until("no reader's query is under way", func() bool {
		return s.count(`select count(*) from pg_stat_activity where usename = 'media' and state <> 'idle'`) == 0
	})
	if got, err := r.read(ada, name, 0, 0); err != nil || len(got) != 4*media.ChunkSize {
		t.Errorf("one more reader gets %d bytes, %v", len(got), err)
	}
}

func FuzzFileNames(f *testing.F) {
	id := strings.Repeat("a", 25) + "7"
	for _, name := range []string{"uploads/" + id, "recordings/" + id + "/480p", "recordings/" + id, "recordings/" + id + "/../x", "uploads/", "", "/", "uploads/" + id + "/original"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		again, err := media.ParseFile(name)
		if err == nil && again != name {
			t.Errorf("%q is read as %q", name, again)
		}
		if err == nil && (strings.Contains(name, "..") || strings.ContainsAny(name, "\x00\\ ")) {
			t.Errorf("%q is taken", name)
		}
	})
}
