// The numbers that decide how fast the kernels are, and how their sums are rounded. No result depends on them
// otherwise.
//
// Each says what it trades, and how it was found where that is recorded.
#pragma once

#include <cstdint>

namespace jaxconv {
namespace {

// -- by instruction set ----------------------------------------------------------------------------------------------
//
// A tile of sums stays in registers while products are added to it. Its rows share each load of a vector, and its
// vectors share each broadcast, so a larger tile loads less; but its sums and the operands must fit into the 32
// registers of AVX-512 or the 16 of the others. A tile should have eight sums or more: two multipliers with a latency
// of about four cycles have eight products under way.

#if defined(__AVX512F__)

// Numbers in a vector.
constexpr int kLanes = 16;
// F32Dense: vectors of channels, and for each number of them the positions that meet them. 24 sums, 4 vectors of
// weights.
constexpr int kDenseVectors = 4;
constexpr int kDensePositions[] = {0, 8, 8, 8, 6};
// F32Planar: for each number of channels of the target the vectors of positions that meet a broadcast weight.
constexpr int kPlanarVectors[] = {0, 8, 8, 6, 6};
// Whether a whole line of the cache can be stored past the caches by one instruction.
constexpr bool kHasStreamingStores = true;

#else

#if defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif
constexpr int kDenseVectors = 2;  // 12 sums, 2 vectors of weights, one number broadcast
constexpr int kDensePositions[] = {0, 6, 6};
constexpr int kPlanarVectors[] = {0, 8, 4, 3, 3};
constexpr bool kHasStreamingStores = false;

#endif

// F32Planar: channels of the target in a tile.
constexpr int kPlanarChannels = 4;
// F32PlanarRows: rows and vectors of positions of one channel. A short row alone has too few sums for the multipliers.
constexpr int kPlanarRows = 4;
constexpr int kPlanarRowVectors = 4;
// F32Lanes: positions that share a load of weights. F32LanesWeight: taps that share a load of the gradient.
constexpr int kLanesPositions = 8;
constexpr int kLanesTaps = 8;

// -- for every instruction set: the plan and the size of the scratch depend on these ---------------------------------

// Packed arrays are padded to whole blocks of this many channels: as many as the widest vector has lanes.
constexpr int kBlock = 16;

// Channels of the source that Form::dense sums in one go. More make fewer passes over the results; the weights for a
// tile of the target, 128 x 9 taps x 64 lanes for a kernel of 3 x 3, must stay in the L2 cache.
constexpr int64_t kSourceChannels = 128;
// Channels of the target in a block of a packed kernel: the part of it that is read for one strip, and the unit in
// which channels are shared among jobs.
constexpr int64_t kTargetChannels = 64;
// Channels of x in a block of the weight's gradient. The block's sums, with all taps, must stay in the L2 cache.
constexpr int64_t kGradientChannels = 64;

// Parts in which the weight's gradient is summed, if there is one block only; fewer where there are more. Each part is
// work for a thread, and takes memory and additions at the end. The number of threads must not decide it: the order of
// additions, and with it the bits of the result, would depend on the machine.
constexpr int64_t kSlots = 16;
// A sum over fewer positions of a row than this is not worth such a part.
constexpr int64_t kSlotPositions = 64;

// Form::lanes: channels of the target in one piece of work. More make fewer pieces, whose strips have fewer rows.
constexpr int64_t kLanesChannels = 64;
// Form::lanes: a piece takes fewer channels where its strip would hold less than this many heights of the kernel: rows
// that two strips hold are copied twice.
constexpr int64_t kLanesHeights = 4;
// Form::lanes copies a strip once for each channel of the source that a lane meets: at most so many times. With more,
// Form::dense takes over, most of whose lanes are then idle.
constexpr int64_t kLanesSources = 16;

// The strip of a piece of work. Larger ones copy fewer rows twice; they must stay in the L2 cache, beside the
// weights.
constexpr int64_t kStripBytes = 192 << 10;
// Form::winograd: the transformed numbers of a piece, which are read once for each block of the target. Larger ones
// read the transformed kernel less often.
constexpr int64_t kTransformedBytes = 320 << 10;

// Form::winograd multiplies less and adds more. With fewer channels on either side than this, or than three times this
// on both together, the transformations take longer than what they save.
constexpr int64_t kWinogradChannels = 16;
// With fewer tiles than this the transformation of the kernel does.
constexpr int64_t kWinogradTiles = 64;
// The same for the weight's gradient: tiles in each of the parts that are summed.
constexpr int64_t kWinogradTilesPerSlot = 8;

// Form::planar: what a multiplication costs there, in those of Form::dense, which reads less for each.
constexpr double kPlanarCost = 1.3;
// Form::planar instead of Form::lanes for small groups that lie in planes: at least this share of its lanes is in use.
constexpr double kPlanarUse = 0.7;

// -- how work is cut -------------------------------------------------------------------------------------------------

// Pieces of work for each thread: with few, a thread that ends early waits; with many, strips overlap more.
constexpr int64_t kPiecesPerThread = 8;
// Positions of a row below which a row is not cut for the sake of more pieces.
constexpr int64_t kPiecePositions = 32;
// A part of an axis has at least one position for so many that a window spans: dilated windows may span more than a
// strip has room for, and with a strip for each position the same work took 400 times as long.
constexpr int64_t kSpansPerPart = 2;
// Channels of the source whose parts of the weight's gradient one job adds up.
constexpr int64_t kAddedChannels = 8;

// The weight's gradient of a 1x1 kernel over one long row reads its arrays from memory, and prefetches the next piece
// while it computes one. A piece reads this much of x: the L2 cache holds several pieces, the L1 cache most of one.
// With x read in place and prefetched, the op takes 0.8 of the time that it takes with a copy.
constexpr int64_t kAheadBytes = 32 << 10;

// A result of more bytes than this is stored past the caches, since it would not be in one when the next op reads it:
// it is then not read from memory before it is overwritten. The input gradient of a 1x1 layer (256 to 64 channels,
// 56 x 56) takes 0.75 of its time.
constexpr int64_t kStreamingBytes = 8 << 20;

// A strip for Form::planar of fewer channels than this is read channel by channel where the channels come last; of
// more, whole rows are read and transposed in registers.
constexpr int64_t kPlanarTransposed = 4;

// -- norms -----------------------------------------------------------------------------------------------------------

// Chains of additions, of a vector each, that do not wait for each other.
constexpr int kNormVectors = 4;
// Sums side by side that a job takes: a line of the cache or more of each row that it reads.
constexpr int64_t kNormColumns = 64;
// Numbers of a block, which is read twice: it must stay in the L1 cache. Blocks are joined in double precision.
constexpr int64_t kNormBlock = 2048;
// Rows of a block of few columns: each column is one chain of additions in float32.
constexpr int64_t kNormRows = 256;
// Positions side by side that are worth a sum along them, rather than one across rows.
constexpr int64_t kNormRun = 16;
// Numbers that a job reads at least, and how many jobs there should be.
constexpr int64_t kNormJob = 8192;
constexpr int64_t kNormJobs = 16;
// Of a layer norm's gradient: rows whose columns are added up at once, and rows that are added in float32.
constexpr int64_t kNormTogether = 4;
constexpr int64_t kNormTerms = 32;

// -- pools -----------------------------------------------------------------------------------------------------------

// Taps of a window: a byte says which, and one value is left for none.
constexpr int64_t kPoolTaps = 255;
// Numbers that a job reads or writes at least, and how many jobs there should be: rows that two jobs read are read
// twice.
constexpr int64_t kPoolJob = 16384;
constexpr int64_t kPoolJobs = 16;

// -- how sums are rounded --------------------------------------------------------------------------------------------
//
// A sum is taken in parts of so many products, and the parts are added: rounding errors grow with the length of a part
// and the number of parts, not with their product. Shorter parts cost more additions.

// Of the output and the input gradient, and of a bias' gradient.
constexpr int64_t kTerms = 64;
// Of the weight's gradient. One sum over the 6,000 positions that a piece may have was three times as far off as
// PyTorch's.
constexpr int64_t kGradientTerms = 512;
// The same in Form::lanes, where each product brings a load of its own, so that the additions cost little. In longer
// parts the error was up to three times PyTorch's, in these it is at most 1.7 times.
constexpr int64_t kLanesTerms = 16;
// Sums of a bias' gradient that do not wait for each other: an addition takes four cycles.
constexpr int64_t kBiasChains = 4;

}  // namespace
}  // namespace jaxconv
