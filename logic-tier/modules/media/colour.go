package media

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
)

// colours is how a video's numbers stand for colours, in ffmpeg's words.
type colours struct {
	matrix, transfer, primaries string
	mapped                      bool // to BT.709
}

// Transfer functions of HDR video (BT.2100: PQ and HLG), and primaries of a wider
// gamut than BT.709's. What browsers show as SDR must be converted from them.
var (
	hdrTransfers  = []string{"smpte2084", "arib-std-b67"}
	widePrimaries = []string{"bt2020", "smpte431", "smpte432"}
)

// colours returns the stream's colours. Players take video that does not say for
// BT.709 from 720 lines on; said so, it looks the same when it is made smaller.
func (s stream) colours(height int) colours {
	c := colours{matrix: known(s.Matrix), transfer: known(s.Transfer), primaries: known(s.Primaries)}
	switch {
	case c.wide():
		c.primaries = cmp.Or(c.primaries, "bt2020")
		c.matrix = cmp.Or(c.matrix, "bt2020nc")
		c.transfer = cmp.Or(c.transfer, "bt2020-10")
	case c.matrix == "" && height >= 720:
		c = colours{matrix: "bt709", transfer: cmp.Or(c.transfer, "bt709"), primaries: cmp.Or(c.primaries, "bt709")}
	}
	return c
}

// known returns what ffprobe says of a property; empty when it does not know.
func known(property string) string {
	if property == "unknown" || property == "reserved" {
		return ""
	}
	return property
}

func (c colours) hdr() bool { return slices.Contains(hdrTransfers, c.transfer) }

// wide reports whether there are colours that BT.709 does not have.
func (c colours) wide() bool { return c.hdr() || slices.Contains(widePrimaries, c.primaries) }

// filter is what comes before the scaling: it says which colours the frames have,
// should the file say it nowhere.
func (c colours) filter() string {
	if c.matrix == "" || c.transfer == "" || c.primaries == "" {
		return ""
	}
	return fmt.Sprintf("setparams=colorspace=%s:color_trc=%s:color_primaries=%s,", c.matrix, c.transfer, c.primaries)
}

// mapping is what comes after the scaling: it converts wide colours to BT.709, in
// linear light. White on paper and in captions, 203 cd/m² in HDR (ITU-R BT.2408),
// is near white in SDR too; what is brighter is compressed, and keeps its hue.
func (c colours) mapping() string {
	if !c.mapped {
		return ""
	}
	filter := ",zscale=t=linear:npl=203,format=gbrpf32le,zscale=p=bt709"
	if c.hdr() {
		filter += ",tonemap=mobius:desat=0"
	}
	return filter + ",zscale=t=bt709:m=bt709:r=tv"
}

// fitted is the filter that scales a picture into a box: in square pixels, with
// even sides, never larger than it is.
func fitted(width, height int) string {
	return fmt.Sprintf(`scale=w=max(2\,2*trunc(min(min(iw*max(1\,sar)\,%[1]d)\,%[2]d*dar)/2)):h=max(2\,2*trunc(min(min(ih*max(1\,1/sar)\,%[2]d)\,%[1]d/dar)/2)),setsar=1`, width, height)
}

// canMapColours reports whether ffmpeg has the filters that mapping uses: not
// every build does.
func (t tools) canMapColours(ctx context.Context, w *workFolder) (bool, error) {
	missing := []string{"zscale", "tonemap"}
	_, err := command{
		program: t.ffmpeg, folder: w.path, timeout: probeTimeout, arguments: []string{"-hide_banner", "-v", "error", "-filters"},
	}.run(ctx, func(line string) {
		if fields := strings.Fields(line); len(fields) > 1 {
			missing = slices.DeleteFunc(missing, func(name string) bool { return name == fields[1] })
		}
	})
	return len(missing) == 0, err
}
