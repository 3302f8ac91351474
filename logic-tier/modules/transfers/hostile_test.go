package transfers_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"techtalks.example/logic-tier/modules/transfers"
	talkspb "techtalks.example/proto/techtalks/talks/v1"
	transferspb "techtalks.example/proto/techtalks/transfers/v1"
)

// emptyMembersGzip returns a valid .gz of empty members.
func emptyMembersGzip(t *testing.T, members int) []byte {
	t.Helper()
	var member bytes.Buffer
	if err := gzip.NewWriter(&member).Close(); err != nil {
		t.Fatal(err)
	}
	return bytes.Repeat(member.Bytes(), members)
}

// panickingChannels is a client that panics, as a parser might on hostile input.
type panickingChannels struct{ talkspb.ChannelsClient }

func (panickingChannels) GetChannel(context.Context, *talkspb.GetChannelRequest, ...grpc.CallOption) (*talkspb.GetChannelResponse, error) {
	panic("index out of range")
}

func TestPanicInImportFailsOnlyTheAttempt(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t)
	e.deps.Channels = panickingChannels{e.channels}
	e.module = transfers.New(e.deps)
	operation := e.startImport(e.operatorContext(), packTar(t, catalogue(3, 1)))
	if err := e.deliver(t.Context(), operation); err == nil || !strings.Contains(err.Error(), "index out of range") {
		t.Errorf("got %v, want the panic as an error", err)
	}
}

func TestImportRejectsArchivesOfEmptyBlocks(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t)
	for name, content := range map[string][]byte{
		".xz":              emptyBlocksXZ(80_000), // 1.4 MB
		".xz, streams":     bytes.Repeat(emptyBlocksXZ(1), 30_000),
		".xz, padding":     append(emptyBlocksXZ(1), make([]byte, 4<<20)...),
		".gz, members":     emptyMembersGzip(t, 80_000),
		".gz after a talk": append(packGzip(t, catalogue(5, 1)), emptyMembersGzip(t, 80_000)...),
	} {
		t.Run(name, func(t *testing.T) {
			operation := e.startImport(e.operatorContext(), content)
			if err := e.deliver(t.Context(), operation); err != nil {
				t.Fatal(err)
			}
			if reason, message := e.failure(operation); reason != "ARCHIVE_UNREADABLE" || !strings.Contains(message, "empty blocks") {
				t.Errorf("got %s: %q, want empty blocks", reason, message)
			}
		})
	}
}

// tarOf returns a .tar of the headers. Regular files contain a talk.
func tarOf(t *testing.T, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		content := ""
		if h.Typeflag == tar.TypeReg {
			content = `{"title": "A talk"}`
		}
		h.Mode, h.Size = 0o644, int64(len(content))
		if err := errors.Join(w.WriteHeader(&h), write(w, content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// resized returns a .tar in which the header at offset claims another size.
func resized(b []byte, offset int, size uint64) []byte {
	b = slices.Clone(b)
	header := b[offset : offset+512]
	clear(header[124:136])
	header[124] = 0x80 // base 256
	binary.BigEndian.PutUint64(header[128:], size)
	copy(header[148:156], "        ")
	sum := 0
	for _, c := range header {
		sum += int(c)
	}
	copy(header[148:156], fmt.Sprintf("%06o\x00 ", sum))
	return b
}

const talkPath = "all/e/videos/one.json"

func TestImportRejectsHostileArchiveHeaders(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t)
	one := tarOf(t, tar.Header{Typeflag: tar.TypeReg, Name: talkPath})
	long := tarOf(t, tar.Header{Typeflag: tar.TypeReg, Name: talkPath}, tar.Header{Typeflag: tar.TypeReg, Format: tar.FormatGNU, Name: "all/" + strings.Repeat("x", 1000)})
	gnuName := bytes.Index(long, []byte("././@LongLink"))
	long = append(long, make([]byte, 3<<20)...)
	pax := tarOf(t, tar.Header{Typeflag: tar.TypeReg, Name: talkPath}, tar.Header{Typeflag: tar.TypeReg, Name: "all/x", PAXRecords: map[string]string{"SCHILY.xattr.user.x": "x"}})
	paxHeader := bytes.Index(pax, []byte("all/PaxHeaders.0"))
	pax = append(pax, make([]byte, 3<<20)...)
	for name, c := range map[string]struct {
		content []byte
		message string
	}{
		"a size of 2^63-1":         {resized(one, 0, math.MaxInt64), "damaged"},
		"a size of 2^62":           {resized(one, 0, 1<<62), "damaged"},
		"a size of 2^63":           {resized(one, 0, 1<<63), "unsupported archive format"},
		"a PAX header of 2 MiB":    {resized(pax, paxHeader, 2<<20), "damaged"},
		"a GNU name of 2 MiB":      {resized(long, gnuName, 2<<20), "damaged"},
		"a GNU name of 4 GiB":      {resized(long, gnuName, 4<<30), "damaged"},
		"a GNU name of 2^62 bytes": {resized(long, gnuName, 1<<62), "damaged"},
		"200,001 entries, .tar":    {packTar(t, make([]packedFile, 200_001)), "more than 200,000 files"},
		"200,001 entries, .zip":    {packZip(t, make([]packedFile, 200_001)), "more than 200,000 files"},
		"an unbounded directory":   {packZip(t, slices.Repeat([]packedFile{{strings.Repeat("x", 60_000), ""}}, 700)), "more than 200,000 files"},
	} {
		t.Run(name, func(t *testing.T) {
			operation := e.startImport(e.operatorContext(), c.content)
			if err := e.deliver(t.Context(), operation); err != nil {
				t.Fatal(err)
			}
			if reason, message := e.failure(operation); !strings.HasPrefix(reason, "ARCHIVE_") || !strings.Contains(message, c.message) {
				t.Errorf("got %s: %q, want %q", reason, message, c.message)
			}
		})
	}
}

func TestImportReadsOnlyRegularFiles(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t)
	link := func(kind byte, target string) tar.Header {
		return tar.Header{Typeflag: kind, Name: fmt.Sprintf("all/e/videos/%d.json", kind), Linkname: target}
	}
	got := e.runImport(e.operatorContext(), tarOf(t,
		link(tar.TypeSymlink, "/etc/passwd"), link(tar.TypeLink, "../../../etc/passwd"), link(tar.TypeChar, ""), link(tar.TypeBlock, ""),
		link(tar.TypeFifo, ""), link(tar.TypeDir, ""), tar.Header{Typeflag: tar.TypeReg, Name: talkPath}))
	if want := (&transferspb.ImportCatalogueResponse{Files: 1, ChannelsCreated: 1, TalksCreated: 1}); !proto.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestImportRejectsSparseFileOfOneTerabyte(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t)
	content := tarOf(t, tar.Header{Typeflag: tar.TypeReg, Name: "all/e/videos/two.json", PAXRecords: map[string]string{
		"SCHILY.realsize": "1099511627776", "XXX.sparse.major": "0", "XXX.sparse.minor": "1", "XXX.sparse.size": "1099511627776", "XXX.sparse.map": "0,1,1099511627758,18",
		"XXX.sparse.numblocks": "2",
	}}, tar.Header{Typeflag: tar.TypeReg, Name: talkPath})
	// The writer rejects the format's own record names.
	content = bytes.ReplaceAll(content, []byte("XXX.sparse"), []byte("GNU.sparse"))
	operation := e.startImport(e.operatorContext(), content)
	if err := e.deliver(t.Context(), operation); err != nil {
		t.Fatal(err)
	}
	if got := e.rejections(e.operatorContext(), operation); got["all/e/videos/two.json"] != "larger than 1 MiB" || len(got) != 1 {
		t.Errorf("got rejections %v", got)
	}
	if got := e.counts(operation); got.TalksCreated != 1 {
		t.Errorf("got %v", got)
	}
}

func TestImportAcceptsOddButHarmlessArchives(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t)
	files := catalogue(9, 1)
	inner := packZip(t, bombs()[:70])
	compressed := func(b []byte) []byte {
		var out bytes.Buffer
		w := gzip.NewWriter(&out)
		if err := errors.Join(write(w, string(b)), w.Close()); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	plain := packTar(t, files)
	for name, c := range map[string]struct {
		content []byte
		want    *transferspb.ImportCatalogueResponse
	}{
		"a .gz of three members":    {slices.Concat(compressed(plain[:700]), compressed(plain[700:2000]), compressed(plain[2000:])), &transferspb.ImportCatalogueResponse{Files: 10, ChannelsCreated: 1, TalksCreated: 9}},
		"garbage after a .gz":       {append(packGzip(t, files), noise(3000)...), &transferspb.ImportCatalogueResponse{Files: 10, ChannelsCreated: 1, TalksCreated: 9}},
		"garbage after a .tar":      {append(slices.Clone(plain), noise(3000)...), &transferspb.ImportCatalogueResponse{Files: 10, ChannelsCreated: 1, TalksCreated: 9}},
		"garbage before a .zip":     {append([]byte("PK\x03\x04 self-extracting"), packZip(t, files)...), &transferspb.ImportCatalogueResponse{Files: 10, ChannelsCreated: 1, TalksCreated: 9}},
		"a .zip in a .zip":          {packZip(t, append(files, packedFile{"all/event-0/videos/bomb.zip", string(inner)})), &transferspb.ImportCatalogueResponse{Files: 11, ChannelsCreated: 1, TalksCreated: 9, Ignored: 1}},
		"the same name twice":       {packZip(t, append(files, files[1])), &transferspb.ImportCatalogueResponse{Files: 11, ChannelsCreated: 1, TalksCreated: 9, TalksPresent: 1}},
		"JSON, a million levels":    {packZip(t, append(files, packedFile{"all/event-0/videos/deep.json", strings.Repeat("[", 1_000_000)})), &transferspb.ImportCatalogueResponse{Files: 11, ChannelsCreated: 1, TalksCreated: 9, Rejected: 1}},
		"JSON, 200,000 speakers":    {packZip(t, append(files, packedFile{"all/event-0/videos/deep.json", `{"title": "X", "speakers": ["a"` + strings.Repeat(`,"a"`, 200_000) + "]}"})), &transferspb.ImportCatalogueResponse{Files: 11, ChannelsCreated: 1, TalksCreated: 9, Rejected: 1}},
		"JSON of one long number":   {packZip(t, append(files, packedFile{"all/event-0/videos/deep.json", `{"title": ` + strings.Repeat("9", 1_000_000) + "}"})), &transferspb.ImportCatalogueResponse{Files: 11, ChannelsCreated: 1, TalksCreated: 9, Rejected: 1}},
		"JSON of 100 MB, in a .tar": {packTar(t, append(files, packedFile{"all/event-0/videos/deep.json", strings.Repeat("[", 100_000_000)})), &transferspb.ImportCatalogueResponse{Files: 11, ChannelsCreated: 1, TalksCreated: 9, Rejected: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			e.deleteTalks()
			if got := e.runImport(e.operatorContext(), c.content); !proto.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestStoredRejectionsAreBounded(t *testing.T) {
	t.Parallel()
	e := newEnvironment(t)
	var files []packedFile
	for i := range 10_500 {
		files = append(files, packedFile{fmt.Sprintf("all/e/videos/%d.json", i), "{}"})
	}
	if got := e.runImport(e.operatorContext(), packGzip(t, files)); got.Rejected != 10_500 {
		t.Errorf("got %v, want 10,500 rejections", got)
	}
	if got := e.count(`select count(*) from transfers.rejection where number <= 10000`); got != 10_000 {
		t.Errorf("got %d of the first 10,000 rejections, want all", got)
	}
	if got := e.count(`select count(*) from transfers.rejection`); got != 10_000 {
		t.Errorf("got %d rejections, want 10,000", got)
	}
}
