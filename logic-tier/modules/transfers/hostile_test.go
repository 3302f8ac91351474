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

// emptyMembersGzip is a valid .gz of empty members.
func emptyMembersGzip(t *testing.T, members int) []byte {
	t.Helper()
	var one bytes.Buffer
	if err := gzip.NewWriter(&one).Close(); err != nil {
		t.Fatal(err)
	}
	return bytes.Repeat(one.Bytes(), members)
}

// panicking is a neighbour whose client panics, as a parser may on hostile input.
type panicking struct{ talkspb.ChannelsClient }

func (panicking) GetChannel(context.Context, *talkspb.GetChannelRequest, ...grpc.CallOption) (*talkspb.GetChannelResponse, error) {
	panic("index out of range")
}

func TestPanicInAnImportFailsTheAttemptOnly(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.needs.Channels = panicking{s.channels}
	s.module = transfers.New(s.needs)
	operation := s.begun(s.operator(), packTar(t, catalogue(3, 1)))
	if err := s.work(t.Context(), operation); err == nil || !strings.Contains(err.Error(), "index out of range") {
		t.Errorf("the attempt ends with %v", err)
	}
}

func TestArchivesOfEmptyBlocksAreRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	for name, content := range map[string][]byte{
		".xz":              emptyBlocksXZ(80_000), // 1.4 MB
		".xz, streams":     bytes.Repeat(emptyBlocksXZ(1), 30_000),
		".xz, padding":     append(emptyBlocksXZ(1), make([]byte, 4<<20)...),
		".gz, members":     emptyMembersGzip(t, 80_000),
		".gz after a talk": append(packGzip(t, catalogue(5, 1)), emptyMembersGzip(t, 80_000)...),
	} {
		t.Run(name, func(t *testing.T) {
			operation := s.begun(s.operator(), content)
			if err := s.work(t.Context(), operation); err != nil {
				t.Fatal(err)
			}
			if reason, message := s.failed(operation); reason != "ARCHIVE_UNREADABLE" || !strings.Contains(message, "empty blocks") {
				t.Errorf("%s: %s", reason, message)
			}
		})
	}
}

// tarOf packs headers, each with the content of its name.
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

// resized changes the size that the header at offset claims.
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

func TestHostileTarHeadersAreRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	one := tarOf(t, tar.Header{Typeflag: tar.TypeReg, Name: talkPath})
	long := tarOf(t, tar.Header{Typeflag: tar.TypeReg, Name: talkPath}, tar.Header{Typeflag: tar.TypeReg, Format: tar.FormatGNU, Name: "all/" + strings.Repeat("x", 1000)})
	gnuName := bytes.Index(long, []byte("././@LongLink"))
	long = append(long, make([]byte, 3<<20)...)
	pax := tarOf(t, tar.Header{Typeflag: tar.TypeReg, Name: talkPath}, tar.Header{Typeflag: tar.TypeReg, Name: "all/x", PAXRecords: map[string]string{"SCHILY.xattr.user.x": "x"}})
	paxHeader := bytes.Index(pax, []byte("all/PaxHeaders.0"))
	pax = append(pax, make([]byte, 3<<20)...)
	for name, c := range map[string]struct {
		content []byte
		says    string
	}{
		"a size of 2^63-1":          {resized(one, 0, math.MaxInt64), "damaged"},
		"a size of 2^62":            {resized(one, 0, 1<<62), "damaged"},
		"a size of 2^63":            {resized(one, 0, 1<<63), "no archive of a kind"},
		"a PAX header of 2 MiB":     {resized(pax, paxHeader, 2<<20), "damaged"},
		"a GNU name of 2 MiB":       {resized(long, gnuName, 2<<20), "damaged"},
		"a GNU name of 4 GiB":       {resized(long, gnuName, 4<<30), "damaged"},
		"a GNU name of 2^62 bytes":  {resized(long, gnuName, 1<<62), "damaged"},
		"200,001 entries, .tar":     {packTar(t, make([]packed, 200_001)), "more than 200,000 files"},
		"200,001 entries, .zip":     {packZip(t, make([]packed, 200_001)), "more than 200,000 files"},
		"a directory without bound": {packZip(t, slices.Repeat([]packed{{strings.Repeat("x", 60_000), ""}}, 700)), "more than 200,000 files"},
	} {
		t.Run(name, func(t *testing.T) {
			operation := s.begun(s.operator(), c.content)
			if err := s.work(t.Context(), operation); err != nil {
				t.Fatal(err)
			}
			if reason, message := s.failed(operation); !strings.HasPrefix(reason, "ARCHIVE_") || !strings.Contains(message, c.says) {
				t.Errorf("%s: %s", reason, message)
			}
		})
	}
}

func TestOnlyRegularFilesAreTaken(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	link := func(kind byte, target string) tar.Header {
		return tar.Header{Typeflag: kind, Name: fmt.Sprintf("all/e/videos/%d.json", kind), Linkname: target}
	}
	got := s.imported(s.operator(), tarOf(t,
		link(tar.TypeSymlink, "/etc/passwd"), link(tar.TypeLink, "../../../etc/passwd"), link(tar.TypeChar, ""), link(tar.TypeBlock, ""),
		link(tar.TypeFifo, ""), link(tar.TypeDir, ""), tar.Header{Typeflag: tar.TypeReg, Name: talkPath}))
	if want := (&transferspb.ImportCatalogueResponse{Files: 1, ChannelsCreated: 1, TalksCreated: 1}); !proto.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestSparseFileOfATerabyteIsTooLarge(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	content := tarOf(t, tar.Header{Typeflag: tar.TypeReg, Name: "all/e/videos/two.json", PAXRecords: map[string]string{
		"SCHILY.realsize": "1099511627776", "XXX.sparse.major": "0", "XXX.sparse.minor": "1", "XXX.sparse.size": "1099511627776", "XXX.sparse.map": "0,1,1099511627758,18",
		"XXX.sparse.numblocks": "2",
	}}, tar.Header{Typeflag: tar.TypeReg, Name: talkPath})
	// The writer refuses the names of the format's own records.
	content = bytes.ReplaceAll(content, []byte("XXX.sparse"), []byte("GNU.sparse"))
	operation := s.begun(s.operator(), content)
	if err := s.work(t.Context(), operation); err != nil {
		t.Fatal(err)
	}
	if got := s.rejections(s.operator(), operation); got["all/e/videos/two.json"] != "larger than 1 MiB" || len(got) != 1 {
		t.Errorf("rejected are %v", got)
	}
	if got := s.counts(operation); got.TalksCreated != 1 {
		t.Errorf("got %v", got)
	}
}

func TestOddButHarmlessArchives(t *testing.T) {
	t.Parallel()
	s := newSite(t)
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
		"garbage behind a .gz":      {append(packGzip(t, files), noise(3000)...), &transferspb.ImportCatalogueResponse{Files: 10, ChannelsCreated: 1, TalksCreated: 9}},
		"garbage behind a .tar":     {append(slices.Clone(plain), noise(3000)...), &transferspb.ImportCatalogueResponse{Files: 10, ChannelsCreated: 1, TalksCreated: 9}},
		"garbage before a .zip":     {append([]byte("PK\x03\x04 self-extracting"), packZip(t, files)...), &transferspb.ImportCatalogueResponse{Files: 10, ChannelsCreated: 1, TalksCreated: 9}},
		"a .zip in a .zip":          {packZip(t, append(files, packed{"all/event-0/videos/bomb.zip", string(inner)})), &transferspb.ImportCatalogueResponse{Files: 11, ChannelsCreated: 1, TalksCreated: 9, Ignored: 1}},
		"the same name twice":       {packZip(t, append(files, files[1])), &transferspb.ImportCatalogueResponse{Files: 11, ChannelsCreated: 1, TalksCreated: 9, TalksPresent: 1}},
		"JSON, a million levels":    {packZip(t, append(files, packed{"all/event-0/videos/deep.json", strings.Repeat("[", 1_000_000)})), &transferspb.ImportCatalogueResponse{Files: 11, ChannelsCreated: 1, TalksCreated: 9, Rejected: 1}},
		"JSON, 200,000 speakers":    {packZip(t, append(files, packed{"all/event-0/videos/deep.json", `{"title": "X", "speakers": ["a"` + strings.Repeat(`,"a"`, 200_000) + "]}"})), &transferspb.ImportCatalogueResponse{Files: 11, ChannelsCreated: 1, TalksCreated: 9, Rejected: 1}},
		"JSON of one long number":   {packZip(t, append(files, packed{"all/event-0/videos/deep.json", `{"title": ` + strings.Repeat("9", 1_000_000) + "}"})), &transferspb.ImportCatalogueResponse{Files: 11, ChannelsCreated: 1, TalksCreated: 9, Rejected: 1}},
		"JSON of 100 MB, in a .tar": {packTar(t, append(files, packed{"all/event-0/videos/deep.json", strings.Repeat("[", 100_000_000)})), &transferspb.ImportCatalogueResponse{Files: 11, ChannelsCreated: 1, TalksCreated: 9, Rejected: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			s.forgetTalks()
			if got := s.imported(s.operator(), c.content); !proto.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestListedRejectionsAreBounded(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var files []packed
	for i := range 10_500 {
		files = append(files, packed{fmt.Sprintf("all/e/videos/%d.json", i), "{}"})
	}
	if got := s.imported(s.operator(), packGzip(t, files)); got.Rejected != 10_500 {
		t.Errorf("got %v", got)
	}
	if got := s.count(`select count(*) from transfers.rejection where number <= 10000`); got != 10_000 {
		t.Errorf("%d of the first are listed", got)
	}
	if got := s.count(`select count(*) from transfers.rejection`); got != 10_000 {
		t.Errorf("%d are listed", got)
	}
}
