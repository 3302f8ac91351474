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

// A client whose connection breaks at random offsets resumes from the upload's current offset.
func TestUploadResumesAfterDisconnects(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	data := randomBytes(1, 3*media.ChunkSize+12345)
	name := r.createUpload(ada, &mediapb.CreateUploadRequest{Size: proto.Int64(int64(len(data))), FileName: "talk.mp4", Sha256: strings.ToUpper(sha256Hex(data))})
	random := rand.New(rand.NewPCG(1, 2))
	for disconnects := 0; ; {
		current, err := r.GetUpload(r.ctx(ada), &mediapb.GetUploadRequest{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		offset := current.Upload.Offset
		if current.Upload.Whole {
			if disconnects < 8 {
				t.Errorf("got %d disconnects, want at least 8", disconnects)
			}
			if offset != int64(len(data)) || current.Upload.Sha256 != sha256Hex(data) {
				t.Errorf("got upload %v, want size and checksum of the data", current.Upload)
			}
			break
		}
		if disconnects++; disconnects > 1000 {
			t.Fatalf("got incomplete upload %v after 1000 disconnects", current.Upload)
		}
		r.appendAndDisconnect(name, offset, data[offset:offset+min(int64(len(data))-offset, int64(1+random.IntN(100_000)))], 1+random.IntN(70_000))
	}
	got, err := r.readFile(ada, name, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	wantBytes(t, "file", got, data)
	if got := s.count(`select count(*) from media.chunk`); got != 4 {
		t.Errorf("got %d chunks, want 4", got)
	}
}

// A client that gets no response retries with the same request id.
func TestCreateUploadIsIdempotentByRequestID(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	request := &mediapb.CreateUploadRequest{Size: proto.Int64(4), FileName: "talk.mp4", RequestId: "4f0e2a52-6f1c-4a53-8f6e-0d2c8e1f7a11"}
	first := r.createUpload(ada, request)
	if _, err := r.appendUpload(ada, first, 0, []byte("ta"), 2); err != nil {
		t.Fatal(err)
	}
	request.RequestId = strings.ToUpper(request.RequestId)
	retried, err := r.CreateUpload(r.ctx(ada), request)
	if err != nil {
		t.Fatal(err)
	}
	if retried.Upload.Name != first || retried.Upload.Offset != 2 {
		t.Errorf("got upload %v for the retry, want %s at offset 2", retried.Upload, first)
	}
	if other := r.createUpload(grace, request); other == first {
		t.Error("got the same upload for another account's request")
	}
	request.RequestId = ""
	if first, second := r.createUpload(ada, request), r.createUpload(ada, request); first == second {
		t.Error("got the same upload for two requests without a request id")
	}
}

// appendAndDisconnect appends and cancels the call before it is answered. The server commits
// what it received, perhaps only after the client's next GetUpload.
func (r *replica) appendAndDisconnect(name string, offset int64, data []byte, size int) {
	r.site.t.Helper()
	ctx, disconnect := context.WithCancel(r.ctx(ada))
	defer disconnect()
	call, err := r.AppendUpload(ctx)
	if err != nil {
		r.site.t.Fatal(err)
	}
	message := &mediapb.AppendUploadRequest{Name: name, Offset: offset}
	for len(data) > 0 {
		message.Data = data[:min(size, len(data))]
		data = data[len(message.Data):]
		if err := call.Send(message); err != nil {
			return // the previous call has committed more meanwhile: wrong offset
		}
		message = &mediapb.AppendUploadRequest{}
	}
}

func TestAppendUploadRejectsWrongOffset(t *testing.T) {
	t.Parallel()
	r := newSite(t).start()
	data := randomBytes(2, 1000)
	name := r.createUpload(ada, &mediapb.CreateUploadRequest{Size: proto.Int64(1000)})
	if _, err := r.appendUpload(ada, name, 0, data[:400], 100); err != nil {
		t.Fatal(err)
	}
	for _, offset := range []int64{0, 399, 401, 1000, 1 << 40} {
		_, err := r.appendUpload(ada, name, offset, data[400:], 100)
		wantReason(t, err, "OFFSET_MISMATCH")
	}
	if u, err := r.appendUpload(ada, name, 400, nil, 1); err != nil || u.Offset != 400 || u.Whole {
		t.Errorf("got %v, %v for an empty append, want offset 400", u, err)
	}
	if u, err := r.appendUpload(ada, name, 400, data[400:], 100); err != nil || !u.Whole {
		t.Errorf("got upload %v, %v; want it complete", u, err)
	}
	if u, err := r.appendUpload(ada, name, 1000, nil, 1); err != nil || !u.Whole {
		t.Errorf("got %v, %v for an empty append to a complete upload", u, err)
	}
	call, err := r.AppendUpload(r.ctx(ada))
	if err != nil {
		t.Fatal(err)
	}
	_, err = call.CloseAndRecv()
	wantReason(t, err, "UPLOAD_NOT_SAID")
}

// A client whose connection broke unnoticed resumes over a new one. Of many concurrent calls
// on one upload, only the newest appends.
func TestNewestAppendSupersedesOlderOnes(t *testing.T) {
	t.Parallel()
	r := newSite(t).start()
	data := randomBytes(11, 1000)
	name := r.createUpload(ada, &mediapb.CreateUploadRequest{Size: proto.Int64(1000)})
	const calls = 20
	var latest grpc.ClientStreamingClient[mediapb.AppendUploadRequest, mediapb.AppendUploadResponse]
	var session any
	for i := range calls {
		call, err := r.AppendUpload(r.ctx(ada))
		if err != nil {
			t.Fatal(err)
		}
		if err := call.Send(&mediapb.AppendUploadRequest{Name: name, Offset: int64(i), Data: data[i : i+1]}); err != nil {
			t.Fatal(err)
		}
		r.site.waitFor("the call to be admitted", func() bool {
			current := r.module.AppendSession(strings.TrimPrefix(name, "uploads/"))
			admitted := current != nil && current != session
			if admitted {
				session = current
			}
			return admitted
		})
		if latest != nil {
			// The previous call fails although its client is still sending; its data is committed.
			err := latest.RecvMsg(&mediapb.AppendUploadResponse{})
			wantReason(t, err, "UPLOAD_SUPERSEDED")
		}
		latest = call
	}
	if err := latest.Send(&mediapb.AppendUploadRequest{Data: data[calls:]}); err != nil {
		t.Fatal(err)
	}
	response, err := latest.CloseAndRecv()
	if err != nil || !response.Upload.Whole {
		t.Errorf("got %v, %v for the newest call, want a complete upload", response, err)
	}
	got, err := r.readFile(ada, name, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	wantBytes(t, "file", got, data)

	// Another account cannot supersede the owner's call.
	other := r.createUpload(ada, &mediapb.CreateUploadRequest{})
	call, err := r.AppendUpload(r.ctx(ada))
	if err != nil {
		t.Fatal(err)
	}
	if err := call.Send(&mediapb.AppendUploadRequest{Name: other, Data: data[:10]}); err != nil {
		t.Fatal(err)
	}
	r.site.waitFor("the owner's call to be admitted", func() bool { return r.module.AppendSession(strings.TrimPrefix(other, "uploads/")) != nil })
	_, err = r.appendUpload(grace, other, 0, data, 1000)
	wantReason(t, err, "UPLOAD_NOT_FOUND")
	if response, err := call.CloseAndRecv(); err != nil || response.Upload.Offset != 10 {
		t.Errorf("got %v, %v for the owner's call, want offset 10", response, err)
	}
}

// Two clients append to one upload concurrently, in two processes. Every stored chunk is
// entirely from one of them.
func TestConcurrentAppendsInTwoProcessesDoNotMixWithinChunk(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	replicas := []*replica{r, s.start()}
	const size = 6*media.ChunkSize + 7
	name := r.createUpload(ada, &mediapb.CreateUploadRequest{Size: proto.Int64(size)})
	sent := [][]byte{randomBytes(3, size), randomBytes(4, size)}
	errs := make([]error, 2)
	var both sync.WaitGroup
	for i, data := range sent {
		both.Go(func() { _, errs[i] = replicas[i].appendUpload(ada, name, 0, data, 50_000) })
	}
	both.Wait()
	winner := -1
	for i, err := range errs {
		if err == nil {
			if winner >= 0 {
				t.Error("both clients completed the upload")
			}
			winner = i
		} else {
			wantReason(t, err, "OFFSET_MISMATCH")
		}
	}
	current, err := r.GetUpload(r.ctx(ada), &mediapb.GetUploadRequest{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.readFile(module, name, 0, 0)
	if err != nil || int64(len(got)) != current.Upload.Offset {
		t.Fatalf("got %d bytes, %v; want %d", len(got), err, current.Upload.Offset)
	}
	// Only the client that knows the current offset can commit.
	for start := 0; start < len(got); start += media.ChunkSize {
		end := min(start+media.ChunkSize, len(got))
		if string(got[start:end]) != string(sent[0][start:end]) && string(got[start:end]) != string(sent[1][start:end]) {
			t.Fatalf("the chunk at %d is from neither client", start)
		}
	}
	if winner >= 0 {
		wantBytes(t, "file of the client that completed the upload", got, sent[winner])
	}
}

func TestUploadIsDeletedOnChecksumMismatch(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	data := randomBytes(5, media.ChunkSize+1)
	for _, size := range []*int64{proto.Int64(int64(len(data))), nil} {
		name := r.createUpload(ada, &mediapb.CreateUploadRequest{Size: size, Sha256: sha256Hex([]byte("something else"))})
		_, err := r.appendUpload(ada, name, 0, data, 100_000)
		if size == nil && err == nil {
			_, err = r.CompleteUpload(r.ctx(ada), &mediapb.CompleteUploadRequest{Name: name, Size: int64(len(data))})
		}
		wantReason(t, err, "CHECKSUM_MISMATCH")
		_, err = r.GetUpload(r.ctx(ada), &mediapb.GetUploadRequest{Name: name})
		wantReason(t, err, "UPLOAD_NOT_FOUND")
	}
	if files, chunks := r.sweep(); files+chunks > 0 {
		t.Errorf("got %d files and %d chunks left, want none", files, chunks)
	}
}

func TestAppendUploadRejectsBytesBeyondSize(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start(func(d *media.Deps) { d.Limits.UploadBytes = 5000 })
	name := r.createUpload(ada, &mediapb.CreateUploadRequest{Size: proto.Int64(1000)})
	_, err := r.appendUpload(ada, name, 0, randomBytes(6, 1001), 500)
	wantReason(t, err, "UPLOAD_TOO_LONG")
	current, err := r.GetUpload(r.ctx(ada), &mediapb.GetUploadRequest{Name: name})
	if err != nil || current.Upload.Offset != 1000 || !current.Upload.Whole {
		t.Errorf("got %v, %v; want the bytes up to its size stored", current, err)
	}
	_, err = r.appendUpload(ada, name, 1000, []byte("x"), 1)
	wantReason(t, err, "UPLOAD_TOO_LONG")

	unknown := r.createUpload(ada, &mediapb.CreateUploadRequest{})
	_, err = r.appendUpload(ada, unknown, 0, randomBytes(6, 5001), 5001)
	wantReason(t, err, "UPLOAD_TOO_LONG")
	_, err = r.CreateUpload(r.ctx(ada), &mediapb.CreateUploadRequest{Size: proto.Int64(5001)})
	wantReason(t, err, "UPLOAD_TOO_LONG")
}

func TestCompleteUploadCompletesUploadOfUnknownSize(t *testing.T) {
	t.Parallel()
	r := newSite(t).start()
	data := randomBytes(7, 2*media.ChunkSize)
	name := r.createUpload(ada, &mediapb.CreateUploadRequest{Sha256: sha256Hex(data)})
	u, err := r.appendUpload(ada, name, 0, data, media.ChunkSize)
	if err != nil || u.Whole || u.Size != nil {
		t.Fatalf("got upload %v, %v; want it incomplete, without a size", u, err)
	}
	_, err = r.readFile(ada, name, 0, 0)
	wantReason(t, err, "FILE_NOT_FOUND")
	_, err = r.CompleteUpload(r.ctx(ada), &mediapb.CompleteUploadRequest{Name: name, Size: int64(len(data)) - 1})
	wantReason(t, err, "OFFSET_MISMATCH")
	for range 2 {
		completed, err := r.CompleteUpload(r.ctx(ada), &mediapb.CompleteUploadRequest{Name: name, Size: int64(len(data))})
		if err != nil || !completed.Upload.Whole || completed.Upload.Sha256 != sha256Hex(data) {
			t.Errorf("got %v, %v; want it complete, with its checksum", completed, err)
		}
	}
	_, err = r.appendUpload(ada, name, int64(len(data)), []byte("more"), 4)
	wantReason(t, err, "UPLOAD_WHOLE")
	got, err := r.readFile(ada, name, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	wantBytes(t, "file", got, data)
}

func TestDeclaredSizeReservesNoStorage(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	name := r.createUpload(ada, &mediapb.CreateUploadRequest{Size: proto.Int64(8 << 30)})
	if _, err := r.appendUpload(ada, name, 0, randomBytes(8, 1024), 1024); err != nil {
		t.Fatal(err)
	}
	if got := s.count(`select sum(octet_length(bytes)) from media.chunk`); got != 1024 {
		t.Errorf("got %d bytes stored, want 1,024", got)
	}
}

func TestUploadsAreRejectedWhenStorageIsFull(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start(func(d *media.Deps) { d.Limits = media.Limits{TotalBytes: 10_000} })
	first := r.createUpload(ada, &mediapb.CreateUploadRequest{Size: proto.Int64(6000)})
	second := r.createUpload(grace, &mediapb.CreateUploadRequest{Size: proto.Int64(6000)})
	if _, err := r.appendUpload(ada, first, 0, randomBytes(1, 6000), 6000); err != nil {
		t.Fatal(err)
	}
	_, err := r.appendUpload(grace, second, 0, randomBytes(2, 6000), 6000)
	wantReason(t, err, "STORAGE_FULL")
	for _, c := range []caller.Call{ada, operator, module} {
		_, err = r.CreateUpload(r.ctx(c), &mediapb.CreateUploadRequest{Size: proto.Int64(6000), AccountId: 1})
		wantReason(t, err, "STORAGE_FULL")
	}
	// Another replica reads the total when it sweeps, and accepts an upload that fits.
	other := s.start(func(d *media.Deps) { d.Limits = media.Limits{TotalBytes: 10_000} })
	if err := other.module.SweepNow(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = other.CreateUpload(r.ctx(ada), &mediapb.CreateUploadRequest{Size: proto.Int64(6000)})
	wantReason(t, err, "STORAGE_FULL")
	if _, err := other.CreateUpload(r.ctx(ada), &mediapb.CreateUploadRequest{Size: proto.Int64(4000)}); err != nil {
		t.Errorf("an upload that fits: %v", err)
	}
	// Stored files stay readable, and deleting one frees space.
	got, err := r.readFile(ada, first, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	wantBytes(t, "file stored before", got, randomBytes(1, 6000))
	if _, err := r.DeleteUpload(r.ctx(ada), &mediapb.DeleteUploadRequest{Name: first}); err != nil {
		t.Fatal(err)
	}
	r.sweep()
	if u, err := r.appendUpload(grace, second, 0, randomBytes(2, 6000), 6000); err != nil || !u.Whole {
		t.Errorf("got upload %v, %v after space was freed; want it complete", u, err)
	}
}

func TestAccountQuotas(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start(func(d *media.Deps) {
		d.Limits = media.Limits{AccountBytes: 10_000, IncompleteUploads: 3, Uploads: 5}
	})
	create := func(c caller.Call, size int64) (string, error) {
		response, err := r.CreateUpload(r.ctx(c), &mediapb.CreateUploadRequest{Size: proto.Int64(size), AccountId: 1})
		return response.GetUpload().GetName(), err
	}
	_, err := create(ada, 10_001)
	wantReason(t, err, "QUOTA_EXCEEDED")
	// Declared sizes reserve nothing: each upload fits alone, but not two together.
	var names []string
	for range 3 {
		name, err := create(ada, 6000)
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	_, err = create(ada, 1)
	wantReason(t, err, "TOO_MANY_UPLOADS")
	if _, err := create(grace, 1); err != nil {
		t.Errorf("another account: %v", err)
	}
	if _, err := create(operator, 6000); err != nil {
		t.Errorf("the operator: %v", err)
	}
	if _, err := create(module, 6000); err != nil {
		t.Errorf("a module, for the account: %v", err)
	}
	if _, err := r.appendUpload(ada, names[0], 0, randomBytes(9, 6000), 6000); err != nil {
		t.Fatal(err)
	}
	_, err = r.appendUpload(ada, names[1], 0, randomBytes(9, 6000), 4000)
	wantReason(t, err, "QUOTA_EXCEEDED")
	// Deleting an upload frees quota.
	if _, err := r.DeleteUpload(r.ctx(ada), &mediapb.DeleteUploadRequest{Name: names[0]}); err != nil {
		t.Fatal(err)
	}
	current, err := r.GetUpload(r.ctx(ada), &mediapb.GetUploadRequest{Name: names[1]})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.appendUpload(ada, names[1], current.Upload.Offset, randomBytes(9, 6000)[current.Upload.Offset:], 6000); err != nil {
		t.Errorf("after quota was freed: %v", err)
	}
}

func TestUnusedUploadsExpireWithTheirChunks(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	var names []string
	for i := range 3 {
		name := r.createUpload(ada, &mediapb.CreateUploadRequest{Size: proto.Int64(70 * media.ChunkSize)})
		size := []int{70 * media.ChunkSize, 1000, 1000}[i] // complete and more than a batch of chunks; two incomplete
		if _, err := r.appendUpload(ada, name, 0, randomBytes(10, size), 1<<20); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	for _, name := range names[:2] {
		s.exec(`update media.upload set expire_time = now() - interval '1 second' where 'uploads/' || id = $1`, name)
	}
	if files, chunks := r.sweep(); files != 1 || chunks != 1 {
		t.Errorf("got %d files and %d chunks left, want 1 and 1: the upload that has not expired", files, chunks)
	}
	_, err := r.GetUpload(r.ctx(ada), &mediapb.GetUploadRequest{Name: names[0]})
	wantReason(t, err, "UPLOAD_NOT_FOUND")
	// Appending extends the lifetime.
	s.exec(`update media.upload set expire_time = now() + interval '1 second'`)
	u, err := r.appendUpload(ada, names[2], 1000, randomBytes(10, 10), 10)
	if err != nil || u.ExpireTime.AsTime().Sub(u.CreateTime.AsTime()).Hours() < 167 {
		t.Errorf("got expiry %v, %v after an append, want a week later", u.GetExpireTime().AsTime(), err)
	}
}

func TestUploadsOfOtherAccountsAreNotFound(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	name := r.createUpload(ada, &mediapb.CreateUploadRequest{Size: proto.Int64(10), AccountId: 2}) // ignored: only modules can set it
	if got := s.count(`select account from media.upload`); got != 1 {
		t.Errorf("got owner account %d, want 1", got)
	}
	unknown := "uploads/" + strings.Repeat("a", 26)
	for _, c := range []struct {
		caller caller.Call
		name   string
		reason string
	}{
		{grace, name, "UPLOAD_NOT_FOUND"}, {operator, name, "UPLOAD_NOT_FOUND"}, {ada, unknown, "UPLOAD_NOT_FOUND"},
		{ada, "uploads/x", "UPLOAD_NOT_FOUND"}, {ada, strings.ToUpper(name), "UPLOAD_NOT_FOUND"}, {anonymous, name, "SESSION_REQUIRED"},
	} {
		ctx := r.ctx(c.caller)
		_, err := r.GetUpload(ctx, &mediapb.GetUploadRequest{Name: c.name})
		wantReason(t, err, c.reason)
		_, err = r.appendUpload(c.caller, c.name, 0, []byte("x"), 1)
		wantReason(t, err, c.reason)
		_, err = r.CompleteUpload(ctx, &mediapb.CompleteUploadRequest{Name: c.name, Size: 1})
		wantReason(t, err, c.reason)
		_, err = r.DeleteUpload(ctx, &mediapb.DeleteUploadRequest{Name: c.name})
		if c.reason == "UPLOAD_NOT_FOUND" && err != nil {
			t.Errorf("deleting an upload that is not found: %v", err)
		}
		_, err = r.GetFile(ctx, &mediapb.GetFileRequest{Name: c.name})
		wantReason(t, err, strings.Replace(c.reason, "UPLOAD", "FILE", 1))
		_, err = r.readFile(c.caller, c.name, 0, 0)
		wantReason(t, err, strings.Replace(c.reason, "UPLOAD", "FILE", 1))
	}
	_, err := r.CreateUpload(r.ctx(anonymous), &mediapb.CreateUploadRequest{Size: proto.Int64(1)})
	wantReason(t, err, "SESSION_REQUIRED")
	if u, err := r.appendUpload(ada, name, 0, []byte("0123456789"), 10); err != nil || !u.Whole {
		t.Errorf("got upload %v, %v for its owner; want it complete", u, err)
	}
	generated := r.createUpload(module, &mediapb.CreateUploadRequest{AccountId: 2})
	if _, err := r.GetUpload(r.ctx(grace), &mediapb.GetUploadRequest{Name: generated}); err != nil {
		t.Errorf("an upload that a module created for grace: %v", err)
	}
}

func TestReadFileReadsRangesAcrossChunks(t *testing.T) {
	t.Parallel()
	r := newSite(t).start()
	data := randomBytes(11, 2*media.ChunkSize+100)
	name := r.uploadFile(ada, "talk.webm", data)
	size := int64(len(data))
	for _, c := range [][2]int64{
		{0, 0}, {0, 1}, {media.ChunkSize - 1, 2}, {media.ChunkSize, 1}, {media.ChunkSize, media.ChunkSize},
		{100, media.ChunkSize}, {media.ChunkSize - 1, media.ChunkSize + 2}, {size - 1, 0}, {size - 1, 100}, {size, 0}, {3, 1 << 62},
	} {
		got, err := r.readFile(ada, name, c[0], c[1])
		if err != nil {
			t.Errorf("range %v: %v", c, err)
		}
		want := data[c[0]:]
		if c[1] > 0 && c[1] < int64(len(want)) {
			want = want[:c[1]]
		}
		wantBytes(t, fmt.Sprint("range ", c), got, want)
	}
	_, err := r.readFile(ada, name, size+1, 0)
	wantReason(t, err, "OFFSET_BEYOND_END")
	f, err := r.GetFile(r.ctx(ada), &mediapb.GetFileRequest{Name: name})
	if err != nil || f.File.Size != size || f.File.Sha256 != sha256Hex(data) || f.File.FileName != "talk.webm" {
		t.Errorf("got file %v, %v", f, err)
	}
}

func TestSlowReaderHoldsNoDatabaseConnection(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	r := s.start()
	name := r.uploadFile(ada, "", randomBytes(12, 4*media.ChunkSize))
	const readers = 30 // more than the pool's connections
	for range readers {
		call, err := r.ReadFile(r.ctx(ada), &mediapb.ReadFileRequest{Name: name})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := call.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	s.waitFor("all queries of readers to finish", func() bool {
		return s.count(`select count(*) from pg_stat_activity where usename = 'media' and state <> 'idle'`) == 0
	})
	if got, err := r.readFile(ada, name, 0, 0); err != nil || len(got) != 4*media.ChunkSize {
		t.Errorf("got %d bytes, %v for one more reader", len(got), err)
	}
}

func FuzzParseFileRef(f *testing.F) {
	id := strings.Repeat("a", 25) + "7"
	for _, name := range []string{"uploads/" + id, "recordings/" + id + "/480p", "recordings/" + id, "recordings/" + id + "/../x", "uploads/", "", "/", "uploads/" + id + "/original"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		formatted, err := media.ParseFileRef(name)
		if err == nil && formatted != name {
			t.Errorf("got %q, want %q", formatted, name)
		}
		if err == nil && (strings.Contains(name, "..") || strings.ContainsAny(name, "\x00\\ ")) {
			t.Errorf("got no error for %q", name)
		}
	})
}
